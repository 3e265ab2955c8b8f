"""Compares stream and history: recomputes the rules over the archive and compares with the stored alerts, alert by alert."""
