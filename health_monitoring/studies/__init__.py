"""Studies on published data; not part of the running system."""
