"""The `dev` command itself."""
