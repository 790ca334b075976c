"""Names of the bus's topics."""

# Keyed by conversation_id; im.chat.v1.ChatRecord.
CHAT_TOPIC = "im-chat-topic"
# Keyed by user id; im.bus.v1.UserEvent.
EVENT_TOPIC = "im-event-topic"
# Records that can never be worked on, as they were, with the reason in their headers.
DEAD_LETTER_TOPIC = "im-chat-dlq"
