"""The tables of auth-service, its sessions in Redis, and their queries."""
