"""What people see of running streams: alerts as they arrive, the screen, tables, plots, and which rules are blind."""
