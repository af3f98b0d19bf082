"""Real servers for tests; README.md beside this file tells how to use them."""
