"""What batch publishes for streams to use: versioned baselines, models and thresholds, and which of them are in force."""
