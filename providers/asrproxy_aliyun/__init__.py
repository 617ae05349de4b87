"""Alibaba Cloud NLS (Intelligent Speech Interaction)."""
