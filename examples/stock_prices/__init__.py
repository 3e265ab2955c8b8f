"""Ticks to bars by minute: late ticks, a watermark, alerts on unusual returns, and the same bars from a batch job."""
