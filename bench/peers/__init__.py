"""What people would run in asrproxy's place, started for a measurement; each installed apart, below .cache/bench, when first asked for."""
