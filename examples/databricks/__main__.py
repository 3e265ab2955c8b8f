"""`hybrid examples databricks`: the notebook, as plain Python."""

import runpy

from examples.running import parse_arguments

if __name__ == "__main__":
    parse_arguments(__doc__)
    runpy.run_module("examples.databricks.card_fraud")
