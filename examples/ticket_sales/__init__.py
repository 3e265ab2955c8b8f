"""A flash sale: reservations that never oversell, whoever is killed, and a stock detector beside that proves it.

    .venv/bin/hybrid examples ticket_sales

Two sellers answer thousands of requests for seats and are killed again and again; every request is answered once.
"""
