"""Studies on published series; not part of the running system."""
