"""A flash sale: reservations that never oversell, whoever is killed, and a stock detector beside that proves it."""
