"""A provider for asrproxy: the imaginary vendor Echo."""
