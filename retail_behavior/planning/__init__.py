"""Demand forecast, stock policy and products that are bought together: what batch works out for a planner."""
