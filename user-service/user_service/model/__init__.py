"""Tables of user-service, presence in Redis, and their queries."""
