"""Injection into pods."""
