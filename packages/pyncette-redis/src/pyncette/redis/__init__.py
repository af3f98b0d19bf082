"""Redis storage for Pyncette."""
