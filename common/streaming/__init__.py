"""Streaming queries: how they are started, watched and recorded."""
