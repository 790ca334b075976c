"""What user-service does; knows no transport."""
