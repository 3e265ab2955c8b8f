"""The simulated shop: products, visitors, sessions and stock, and what goes wrong among them."""
