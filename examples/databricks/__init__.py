"""A vertical's query as a notebook, top to bottom: it runs here as plain Python and can be imported into Databricks unchanged."""
