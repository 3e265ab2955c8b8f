"""Parts of event generators: arrival process, seasonality, drift, anomalies over days, dirty data. It imports no vertical."""
