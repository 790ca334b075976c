"""What the libraries and servers take alone: a way for messages that has nothing of ours in it."""
