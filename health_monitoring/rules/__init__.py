"""What the rules of the detector are made of: NEWS2 points, single observations, patterns over a window."""
