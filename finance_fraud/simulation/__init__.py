"""The simulated world: cards, terminals, and the frauds put in among honest purchases."""
