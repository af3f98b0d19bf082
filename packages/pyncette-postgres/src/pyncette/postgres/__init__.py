"""PostgreSQL storage for Pyncette."""
