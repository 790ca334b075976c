"""The routes of messages and conversations: what is asked of the services, and what the client gets."""

from __future__ import annotations

from typing import Any

from im.chat.v1 import chat_pb2 as chat
from im.chat.v1.content_pb2 import Content

# A fixture of conftest.py, which tests do not import.
Check = Any

MESSAGE_ID = "01890000-0000-7000-8000-000000000001"


_SENT: dict[str, Any] = {
    "client_msg_id": "c-1",
    "message_id": MESSAGE_ID,
    "conversation_id": "s:1001:1002",
    "seq": 5,
    "timestamp": 51,
}
_TO_BOB: dict[str, Any] = {
    "message_id": MESSAGE_ID,
    "conversation_id": "s:1001:1002",
    "seq": 5,
    "from": 1001,
    "to": 1002,
    "content_type": "text",
    "content": "hello",
    "timestamp": 51,
    "client_msg_id": "c-1",
}
_TO_BOB_PB = chat.Message(
    message_id=MESSAGE_ID,
    conversation_id="s:1001:1002",
    seq=5,
    from_user_id=1001,
    to_user_id=1002,
    timestamp=51,
    content=Content(content_type="text", content="hello", client_msg_id="c-1"),
)
_IN_GROUP: dict[str, Any] = {
    "message_id": MESSAGE_ID,
    "conversation_id": "g:1001",
    "seq": 6,
    "from": 1002,
    "group_id": 1001,
    "content_type": "image",
    "content": "file-1",
    "timestamp": 52,
    "reply_to": "m-0",
    "mentions": ["all", 1001],
    "ext": {"w": 1, "h": [2.5]},
}
_IN_GROUP_PB = chat.Message(
    message_id=MESSAGE_ID,
    conversation_id="g:1001",
    seq=6,
    from_user_id=1002,
    group_id=1001,
    timestamp=52,
    content=Content(
        content_type="image",
        content="file-1",
        reply_to="m-0",
        mentions=[1001],
        mentions_all=True,
        ext_json='{"w":1,"h":[2.5]}',
    ),
)
_CONVERSATION: dict[str, Any] = {
    "conversation_id": "s:1001:1002",
    "type": "single",
    "last_seq": 5,
    "read_seq": 3,
    "unread": 2,
    "last_message": _TO_BOB,
    "pinned": True,
    "muted": False,
    "mentioned_seq": 4,
}


async def test_a_message_to_a_user_is_answered_with_its_place(check: Check) -> None:
    await check(
        "POST /v1/messages",
        "SendMessage",
        chat.SendMessageRequest(
            to_user_id=1002, content=Content(content="hello", client_msg_id="c-1")
        ),
        chat.SendMessageResponse(placed=chat.Placed(**_SENT)),
        201,
        _SENT,
        {"to": 1002, "content": "hello", "client_msg_id": "c-1"},
    )


async def test_a_message_to_a_group_is_answered_with_its_place(check: Check) -> None:
    await check(
        "POST /v1/messages",
        "SendGroupMessage",
        chat.SendGroupMessageRequest(
            group_id=1001,
            content=Content(
                content="file-1",
                content_type="image",
                reply_to="m-0",
                mentions=[1001],
                mentions_all=True,
                ext_json='{"w":1}',
            ),
        ),
        chat.SendGroupMessageResponse(placed=chat.Placed(**_SENT)),
        201,
        _SENT,
        {
            "group_id": 1001,
            "content": "file-1",
            "content_type": "image",
            "reply_to": "m-0",
            "mentions": ["all", 1001],
            "ext": {"w": 1},
        },
    )


async def test_a_message_can_be_recalled(check: Check) -> None:
    await check(
        "POST /v1/messages/{message_id}/recall",
        "RecallMessage",
        chat.RecallMessageRequest(message_id=MESSAGE_ID),
        chat.RecallMessageResponse(conversation_id="s:1001:1002", seq=5),
        body={"conversation_id": "s:1001:1002", "seq": 5, "message_id": MESSAGE_ID},
        path=f"/v1/messages/{MESSAGE_ID}/recall",
    )


async def test_messages_are_found(check: Check) -> None:
    await check(
        "GET /v1/messages/search",
        "SearchMessages",
        chat.SearchMessagesRequest(query="hel", conversation_id="s:1001:1002", limit=20),
        chat.SearchMessagesResponse(messages=[_TO_BOB_PB], next_cursor="x"),
        body={"items": [_TO_BOB], "next_cursor": "x"},
        path="/v1/messages/search?q=hel&conversation_id=s:1001:1002",
    )


async def test_conversations_are_listed_with_their_last_message(check: Check) -> None:
    await check(
        "GET /v1/conversations",
        "ListConversations",
        chat.ListConversationsRequest(limit=50),
        chat.ListConversationsResponse(
            conversations=[chat.Conversation(**{**_CONVERSATION, "last_message": _TO_BOB_PB})]
        ),
        body={"items": [_CONVERSATION], "next_cursor": None},
    )


async def test_history_with_a_user_is_in_message_fields(check: Check) -> None:
    await check(
        "GET /v1/conversations/{conversation_id}/messages",
        "GetHistory",
        chat.GetHistoryRequest(
            conversation_id="s:1001:1002", page=chat.Page(before_seq=6, limit=10)
        ),
        chat.GetHistoryResponse(messages=[_TO_BOB_PB]),
        body={"items": [_TO_BOB], "next_cursor": None},
        path="/v1/conversations/s:1001:1002/messages?before_seq=6&limit=10",
    )


async def test_history_of_a_group_is_in_message_fields(check: Check) -> None:
    await check(
        "GET /v1/conversations/{conversation_id}/messages",
        "GetHistory",
        chat.GetHistoryRequest(conversation_id="g:1001", page=chat.Page(after_seq=5, limit=50)),
        chat.GetHistoryResponse(messages=[_IN_GROUP_PB]),
        body={"items": [_IN_GROUP], "next_cursor": None},
        path="/v1/conversations/g:1001/messages?after_seq=5",
    )


async def test_a_conversation_is_read_up_to_a_seq(check: Check) -> None:
    await check(
        "POST /v1/conversations/{conversation_id}/read",
        "MarkAsRead",
        chat.MarkAsReadRequest(conversation_id="s:1001:1002", seq=5),
        chat.MarkAsReadResponse(read_seq=5),
        204,
        sent={"seq": 5},
        path="/v1/conversations/s:1001:1002/read",
    )


async def test_unread_counts_are_by_conversation(check: Check) -> None:
    await check(
        "GET /v1/unread",
        "GetUnreadCount",
        chat.GetUnreadCountRequest(),
        chat.GetUnreadCountResponse(total=3, conversations={"s:1001:1002": 2, "g:1001": 1}),
        body={"total": 3, "conversations": {"s:1001:1002": 2, "g:1001": 1}},
    )


async def test_sync_gives_what_the_cursors_lack(check: Check) -> None:
    await check(
        "POST /v1/sync",
        "Sync",
        chat.SyncRequest(cursors={"s:1001:1002": 4}, limit=100),
        chat.SyncResponse(
            conversations=[
                chat.ConversationDelta(
                    conversation_id="s:1001:1002",
                    last_seq=5,
                    read_seq=3,
                    unread=2,
                    messages=[_TO_BOB_PB],
                )
            ],
            has_more=True,
        ),
        body={
            "conversations": [
                {
                    "conversation_id": "s:1001:1002",
                    "last_seq": 5,
                    "read_seq": 3,
                    "unread": 2,
                    "messages": [_TO_BOB],
                }
            ],
            "has_more": True,
        },
        sent={"cursors": {"s:1001:1002": 4}, "limit": 100},
    )
