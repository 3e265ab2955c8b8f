"""Small programs, one idea each: every one runs on a bare machine with one command, and is tested against a known answer."""
