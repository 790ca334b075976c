"""What chat-service does; knows no transport."""
