"""A vertical's query as a notebook, top to bottom: it runs here as plain Python, and is imported into Databricks as it is."""
