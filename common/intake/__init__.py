"""Translates documents in other formats, on a topic or in a file, and sends them to a vertical's events topic."""
