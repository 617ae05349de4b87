"""What the sidecars of an account share through Redis, and the workers of one sidecar through their supervisor."""
