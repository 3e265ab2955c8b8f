"""`hybrid examples predictive_maintenance`: a minute of it, end to end."""

from examples.running import run_vertical

if __name__ == "__main__":
    run_vertical("predictive_maintenance")
