"""`hybrid bench`: latency and throughput of the real-time paths, beside yardsticks in the same run.

Machines differ, and other work slows them: the ratio of two figures of one run can be compared, an absolute time hardly.
"""
