"""A provider that records another one's answers and plays them back without a network, for tests."""
