"""Tables of chat-service and their queries."""
