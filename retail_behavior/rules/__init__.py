"""What the detector's rules are made of: the live stock position, and sums over hours of the week."""
