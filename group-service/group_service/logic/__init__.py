"""What group-service does; knows no transport."""
