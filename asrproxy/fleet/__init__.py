"""What the sidecars of an account share through Redis."""
