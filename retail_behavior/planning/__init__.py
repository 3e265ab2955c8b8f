"""What batch computes for a planner: demand forecast, stock policy, products that are bought together."""
