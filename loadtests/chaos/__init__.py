"""Chaos runs: drivers and broker are killed at random moments while known events come in, and every record is counted after."""
