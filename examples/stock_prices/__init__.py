"""Ticks to bars by minute: late ticks, a watermark, alerts on unusual returns, and the same bars from a batch job.

    .venv/bin/hybrid examples stock_prices

Trades of three simulated shares become bars in a stream; batch makes them again, and each bar that differs is explained.
"""
