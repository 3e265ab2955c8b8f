"""Commands of `hybrid` that measure and disturb: bench and chaos. Found by the entry-point group `hybrid.commands`."""
