"""Jobs over history: contract check, baselines, training, trends, backtests and evaluation."""
