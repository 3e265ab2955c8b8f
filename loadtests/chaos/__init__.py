"""Kills at random moments of a run whose every event is known, and the counting of what came of it."""
