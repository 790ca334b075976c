"""gRPC: the server that enforces access, and the channels to other services."""
