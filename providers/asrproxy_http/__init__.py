"""What providers that call their vendors over HTTP share."""
