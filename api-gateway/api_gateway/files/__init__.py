"""Files: their bytes. What is known of them, and who may see them, is chat-service's."""
