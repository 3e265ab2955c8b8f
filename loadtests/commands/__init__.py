"""Commands of `hybrid` that measure and disturb: bench and chaos. Entry points of the group `hybrid.commands`."""
