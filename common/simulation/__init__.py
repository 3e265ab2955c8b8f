"""What generators are made of: arrival process, seasonality, drift, anomalies over days, dirty data. Knows no vertical."""
