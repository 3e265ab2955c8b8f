"""Capacity planning: forecasts of load, dates on which cells are full, and traffic theory."""
