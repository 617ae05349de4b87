"""An NLS gateway and token service on this machine, for people with no account, for tests and for benchmarks."""
