"""The first pipeline of every course: log lines counted by level, as a stream, as a batch, and in Spark's real-time mode."""
