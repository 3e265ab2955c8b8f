"""Small programs, one idea each: `hybrid examples NAME` runs one on a bare machine; each is tested against a known answer."""
