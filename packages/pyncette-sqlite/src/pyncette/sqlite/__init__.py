"""SQLite storage for Pyncette."""
