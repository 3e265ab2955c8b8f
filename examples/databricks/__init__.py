"""A vertical's query as a notebook, top to bottom: it runs here as plain Python and can be imported into Databricks unchanged.

    .venv/bin/hybrid examples databricks

History, baselines, the query in batch and as a stream, whether they agree, and how good its alerts were.
"""
