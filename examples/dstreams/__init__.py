"""The log count with Spark's legacy DStreams, the same with Structured Streaming beside it, and the same results."""
