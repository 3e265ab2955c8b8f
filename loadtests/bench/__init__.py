"""`hybrid bench`: latency and throughput of the real-time paths, beside yardsticks in the same run.

Machines differ and are noisy: a ratio between two figures of one run says something, an absolute time hardly.
"""
