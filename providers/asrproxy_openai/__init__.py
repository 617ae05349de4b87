"""Any server with the OpenAI audio API."""
