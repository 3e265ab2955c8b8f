"""`hybrid examples predictive_maintenance` runs the domain for a minute, end to end."""

from examples.running import run_vertical

if __name__ == "__main__":
    run_vertical("predictive_maintenance")
