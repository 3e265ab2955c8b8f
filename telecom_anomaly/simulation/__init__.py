"""The simulated mobile network: sites, cells, and the faults put in."""
