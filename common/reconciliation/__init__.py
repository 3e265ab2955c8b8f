"""Whether stream and history agree: the rules recomputed over the archive, compared alert by alert."""
