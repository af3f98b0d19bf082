"""Real servers for tests. README.md in this folder explains how to use them."""
