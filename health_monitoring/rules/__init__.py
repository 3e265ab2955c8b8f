"""The parts of the detector's rules: NEWS2 points, single observations, patterns over a window."""
