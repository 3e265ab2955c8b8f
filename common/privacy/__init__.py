"""Protects fields that name a person: replaces them by keyed hashes, encrypts raw bytes, and keeps the keys."""
