"""The simulated shop: products, visitors, sessions and stock, and the anomalies among them."""
