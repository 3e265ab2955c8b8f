"""The log count with Spark's legacy DStreams, the same with Structured Streaming beside it, and the same results.

    .venv/bin/hybrid examples dstreams

For those who have code of DStreams: each construct beside what took its place.
"""
