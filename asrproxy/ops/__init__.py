"""Metrics, traces and logs: they listen to events."""
