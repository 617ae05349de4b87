"""Segments to text: joining, seams, cues."""
