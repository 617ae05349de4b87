"""A provider that answers from the audio itself, for tests."""
