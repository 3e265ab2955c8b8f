"""The first pipeline of every course: log lines counted by level, as a stream, as a batch, and in Spark's real-time mode.

    .venv/bin/hybrid examples log_levels

One function counts in all three; the time from a line to its count is measured for each.
"""
