"""The page at `/`: static files, and the door that serves them."""
