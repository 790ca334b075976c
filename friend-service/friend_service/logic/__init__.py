"""What friend-service does; knows no transport."""
