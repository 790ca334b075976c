"""What ws-gateway does with frames and users; knows no sockets."""
