"""An example for each operation of the description, by its id.

In all of them 1001 (alice) asks, 1002 is bob and 1003 is carol, and 2001 is a group of the three. A
test sends every one of them to the whole system, with the ids that are there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Json = Any

MESSAGE_ID = "019a5f0e-7c1b-7d2a-9f3e-1b2c3d4e5f60"
FILE_ID = "019a5f0e-9a11-7c33-8d45-6e7f80912a3b"
SESSION_ID = "0f8fad5bd9cb469fa16570867728950e"
REFRESH_TOKEN = f"{SESSION_ID}.Zm9yIGV4YW1wbGU"
PASSWORD = "correct horse battery"
NEW_PASSWORD = "staple battery horse"
TIME = 1_790_000_000_000


@dataclass(frozen=True)
class Example:
    """What is sent, and what comes back with a success (None: no body)."""

    answer: Json = None
    body: Json = None
    # Of the path and of the query.
    given: Mapping[str, Any] = field(default_factory=dict)


def add_example(operation: dict[str, Any]) -> None:
    """Puts the operation's example where OpenAPI wants it."""
    example = EXAMPLES.get(operation["operationId"])
    if example is None:
        return
    for parameter in operation.get("parameters", ()):
        if parameter["name"] in example.given:
            parameter["example"] = example.given[parameter["name"]]
    if example.body is not None:
        operation["requestBody"]["content"]["application/json"]["example"] = example.body
    for status, answer in operation["responses"].items():
        content = answer.get("content", {}).get("application/json")
        if content and status.startswith("2") and example.answer is not None:
            content["example"] = example.answer
            break


def _page(*items: Json) -> Json:
    return {"items": list(items), "next_cursor": None}


_TOKENS = {
    "user_id": 1001,
    "session_id": SESSION_ID,
    "access_token": "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiIxMDAxIn0.c2lnbmF0dXJl",
    "refresh_token": REFRESH_TOKEN,
    "expires_in": 900,
}
_SESSION = {
    "session_id": SESSION_ID,
    "device_id": "alices-phone",
    "platform": "ios",
    "address": "192.0.2.7",
    "created_at": TIME,
    "last_seen_at": TIME,
    "current": True,
}
_BOB = {
    "user_id": 1002,
    "username": "bob",
    "nickname": "Bob",
    "avatar": "",
    "gender": "",
    "signature": "",
    "created_at": TIME,
}
_ALICE = {
    "user_id": 1001,
    "username": "alice",
    "nickname": "Alice",
    "avatar": "",
    "gender": "",
    "signature": "at sea",
    "birthday": "",
    "ext": {},
    "presence_hidden": False,
    "email": "",
    "created_at": TIME,
    "updated_at": TIME,
}
_REQUEST = {
    "request_id": 31,
    "from_user_id": 1002,
    "to_user_id": 1001,
    "username": "bob",
    "nickname": "Bob",
    "avatar": "",
    "message": "It is me, Bob",
    "status": "pending",
    "created_at": TIME,
}
_FRIEND = {
    "user_id": 1002,
    "username": "bob",
    "nickname": "Bob",
    "avatar": "",
    "remark": "Bobby",
    "online": False,
    "last_seen": None,
    "created_at": TIME,
}
_GROUP = {
    "group_id": 2001,
    "name": "Friends of the sea",
    "avatar": "",
    "description": "",
    "announcement": "",
    "owner_id": 1001,
    "join_policy": "approval",
    "muted": False,
    "member_count": 3,
    "created_at": TIME,
}
_PERSON = {"user_id": 1002, "username": "bob", "nickname": "Bob", "avatar": ""}
_MEMBER = _PERSON | {
    "group_nickname": "",
    "role": "member",
    "muted_until": 0,
    "joined_at": TIME,
}
_MESSAGE = {
    "message_id": MESSAGE_ID,
    "conversation_id": "s:1001:1002",
    "seq": 1,
    "from": 1001,
    "to": 1002,
    "content_type": "text",
    "content": "hello",
    "timestamp": TIME,
    "client_msg_id": "c-1",
}
_GROUP_ID = {"group_id": 2001}
_MEMBER_ID = {"group_id": 2001, "user_id": 1002}
_CONVERSATION = {"conversation_id": "s:1001:1002"}

EXAMPLES: dict[str, Example] = {
    "register": Example(_TOKENS, {"username": "alice", "password": PASSWORD, "platform": "ios"}),
    "login": Example(_TOKENS, {"username": "alice", "password": PASSWORD, "platform": "ios"}),
    "refresh": Example(_TOKENS, {"refresh_token": REFRESH_TOKEN}),
    "logout": Example(),
    "change_password": Example(
        body={"old_password": PASSWORD, "new_password": NEW_PASSWORD},
    ),
    "list_sessions": Example(_page(_SESSION)),
    "revoke_other_sessions": Example(),
    "revoke_session": Example(given={"session_id": SESSION_ID}),
    "get_jwks": Example(
        {
            "keys": [
                {
                    "kty": "OKP",
                    "crv": "Ed25519",
                    "kid": "5f3c2a1b9d8e7f60",
                    "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
                    "alg": "EdDSA",
                    "use": "sig",
                }
            ]
        }
    ),
    "get_me": Example(_ALICE),
    "update_me": Example(_ALICE, {"nickname": "Alice", "signature": "at sea"}),
    "delete_me": Example(body={"password": PASSWORD}),
    "get_online": Example(
        {"items": [{"user_id": 1002, "online": False, "last_seen": None, "platforms": []}]},
        given={"ids": "1002"},
    ),
    "get_user": Example(_BOB, given={"user_id": 1002}),
    "search_users": Example(_page(_BOB), given={"q": "bob"}),
    "send_friend_request": Example(
        {"request_id": 31}, {"user_id": 1002, "message": "It is me, Alice"}
    ),
    "list_friend_requests": Example(_page(_REQUEST), given={"direction": "in"}),
    "accept_friend_request": Example(given={"id": 31}),
    "reject_friend_request": Example(given={"id": 31}),
    "cancel_friend_request": Example(given={"id": 31}),
    "list_friends": Example(_page(_FRIEND)),
    "delete_friend": Example(given={"user_id": 1002}),
    "set_remark": Example(body={"remark": "Bobby"}, given={"user_id": 1002}),
    "list_blocked_users": Example(_page(_PERSON | {"created_at": TIME})),
    "block_user": Example(given={"user_id": 1002}),
    "unblock_user": Example(given={"user_id": 1002}),
    "create_group": Example(_GROUP, {"name": "Friends of the sea", "member_ids": [1002, 1003]}),
    "list_my_groups": Example(_page(_GROUP)),
    "get_group": Example(_GROUP, given=_GROUP_ID),
    "update_group": Example(_GROUP, {"name": "Friends of the sea"}, _GROUP_ID),
    "dismiss_group": Example(given=_GROUP_ID),
    "list_members": Example(_page(_MEMBER), given=_GROUP_ID),
    "invite_members": Example({"added": [1002]}, {"user_ids": [1002]}, _GROUP_ID),
    "remove_member": Example(given=_MEMBER_ID),
    "change_member": Example(body={"role": "admin"}, given=_MEMBER_ID),
    "join_group": Example({"joined": False, "request_id": 31}, {"message": "May I?"}, _GROUP_ID),
    "leave_group": Example(given=_GROUP_ID),
    "transfer_ownership": Example(body={"user_id": 1002}, given=_GROUP_ID),
    "mute_group": Example(body={"muted": True}, given=_GROUP_ID),
    "list_join_requests": Example(
        _page(
            _PERSON | {"request_id": 31, "group_id": 2001, "message": "May I?", "created_at": TIME}
        ),
        given=_GROUP_ID,
    ),
    "list_readers": Example(_page(_PERSON | {"group_nickname": ""}), given=_GROUP_ID | {"seq": 1}),
    "accept_join_request": Example(given=_GROUP_ID | {"id": 31}),
    "reject_join_request": Example(given=_GROUP_ID | {"id": 31}),
    "send_message": Example(
        {
            "client_msg_id": "c-1",
            "message_id": MESSAGE_ID,
            "conversation_id": "s:1001:1002",
            "seq": 1,
            "timestamp": TIME,
        },
        {"to": 1002, "content": "hello", "client_msg_id": "c-1"},
    ),
    "upload_file": Example(
        {
            "file_id": FILE_ID,
            "url": f"/v1/files/{FILE_ID}",
            "size": 5,
            "content_type": "text/plain",
        }
    ),
    "get_file": Example(given={"file_id": FILE_ID}),
    "recall_message": Example(
        {"conversation_id": "s:1001:1002", "seq": 1, "message_id": MESSAGE_ID},
        given={"message_id": MESSAGE_ID},
    ),
    "search_messages": Example(_page(_MESSAGE), given={"q": "hello"}),
    "list_conversations": Example(
        _page(
            {
                "conversation_id": "s:1001:1002",
                "type": "single",
                "last_seq": 1,
                "read_seq": 1,
                "unread": 0,
                "last_message": _MESSAGE,
                "pinned": False,
                "muted": False,
            }
        )
    ),
    "get_history": Example(_page(_MESSAGE), given=_CONVERSATION | {"after_seq": 0}),
    "mark_as_read": Example(body={"seq": 1}, given=_CONVERSATION),
    "get_unread": Example({"total": 3, "conversations": {"s:1001:1002": 3}}),
    "sync": Example(
        {
            "conversations": [
                {
                    "conversation_id": "s:1001:1002",
                    "last_seq": 1,
                    "read_seq": 1,
                    "unread": 0,
                    "messages": [_MESSAGE],
                }
            ],
            "has_more": False,
        },
        {"cursors": {"s:1001:1002": 0}, "limit": 50},
    ),
}
