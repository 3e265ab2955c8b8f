"""The parts of the detector's rules: the live stock position, and sums over hours of the week."""
