"""Runs chaos: drivers and broker are killed at random moments while known events come in, then every record is counted."""
