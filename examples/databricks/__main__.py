"""`hybrid examples databricks`: the notebook, as plain Python."""

import runpy

from examples.running import arguments

if __name__ == "__main__":
    arguments(__doc__)
    runpy.run_module("examples.databricks.card_fraud")
