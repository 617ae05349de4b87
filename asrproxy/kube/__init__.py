"""Injection into pods: one pure function, and its three ways to a cluster."""
