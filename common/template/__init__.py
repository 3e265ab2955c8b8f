"""A vertical to start from: `hybrid new` writes it."""
