"""Capacity planning: load forecast and traffic theory."""
