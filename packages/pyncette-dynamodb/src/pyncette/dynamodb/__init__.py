"""Amazon DynamoDB storage for Pyncette."""
