"""What tests of several packages share: one module for each backend."""
