"""What the rules of the detector are made of: the live stock position, numbers by hour of the week."""
