"""The one YAML file: its models, the loader, and taking a changed one while serving."""
