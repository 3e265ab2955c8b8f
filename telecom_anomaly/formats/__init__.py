"""VES performance events as reports of ours."""
