"""Fields that name a person: keyed hashes in their place, and the keys that open what is stored encrypted."""
