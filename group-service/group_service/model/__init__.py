"""Tables of group-service and their queries."""
