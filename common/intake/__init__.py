"""Documents in formats of others, from a topic or a file, to a vertical's events topic."""
