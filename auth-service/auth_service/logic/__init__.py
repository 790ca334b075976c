"""What auth-service does; knows no transport."""
