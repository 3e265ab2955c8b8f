"""The Spark session that streams and batch share, its settings, and what makes it start sooner."""
