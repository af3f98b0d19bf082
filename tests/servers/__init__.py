"""Real servers for tests; README.md in this folder says how to use them."""
