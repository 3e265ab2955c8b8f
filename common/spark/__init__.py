"""The Spark session that streams and batch share, and how it starts sooner."""
