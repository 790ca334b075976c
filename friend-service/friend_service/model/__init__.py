"""Tables of friend-service and their queries."""
