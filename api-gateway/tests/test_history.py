"""Whose conversation is asked for, and its pages."""

from __future__ import annotations

from typing import Any

import pytest

from im.chat.v1 import chat_pb2 as chat
from im_common.testing.ids import NO_CONVERSATION_IDS

# A fixture's class, of conftest.py, which tests do not import.
Gateway = Any


def messages(*seqs: int) -> list[chat.Message]:
    return [chat.Message(message_id=f"m-{seq}", seq=seq) for seq in seqs]


@pytest.mark.parametrize(
    ("ext", "shown"),
    [
        ('{"a":{"b":[1]}}', {"a": {"b": [1]}}),
        ('{"a":%s}' % ("9" * 400), {"a": int("9" * 400)}),
        ('{"a":' * 255 + "1" + "}" * 255, None),
        ('{"a":' * 5_000 + "1" + "}" * 5_000, None),
        ("[1]", None),
        ("{", None),
    ],
)
async def test_no_single_message_makes_a_page_fail(gateway: Gateway, ext: str, shown: Any) -> None:
    """However it was stored."""
    page = messages(1, 2)
    page[0].content.ext_json = ext
    gateway.services.answers["GetHistory"] = chat.GetHistoryResponse(messages=page)
    response = await gateway.request("GET", "/v1/conversations/s:1001:1002/messages")
    assert response.status_code == 200, response.text
    assert [item.get("ext") for item in response.json()["items"]] == [shown, None]


@pytest.mark.parametrize("conversation_id", NO_CONVERSATION_IDS)
async def test_an_id_that_is_none_is_named(gateway: Gateway, conversation_id: str) -> None:
    path = f"/v1/conversations/{conversation_id}/messages"
    response = await gateway.request("GET", path)
    assert response.status_code == 400, response.text
    assert response.json()["field"] == "conversation_id"
    assert gateway.services.calls == []


async def test_an_escaped_id_is_the_same_id(gateway: Gateway) -> None:
    gateway.services.answers["GetHistory"] = chat.GetHistoryResponse()
    response = await gateway.request("GET", "/v1/conversations/g%3A1001/messages")
    assert response.status_code == 200, response.text
    assert gateway.services.last.message.conversation_id == "g:1001"


@pytest.mark.parametrize(
    ("query", "next_page"),
    [
        ("limit=2", chat.Page(before_seq=7, limit=2)),
        ("limit=2&before_seq=9", chat.Page(before_seq=7, limit=2)),
        ("limit=2&after_seq=6", chat.Page(after_seq=8, limit=2)),
        ("limit=2&after_seq=6&before_seq=20", chat.Page(before_seq=20, after_seq=8, limit=2)),
        ("limit=2&around_seq=7", chat.Page(after_seq=8, limit=2)),
        ("limit=2&after_seq=0", chat.Page(after_seq=8, limit=2)),
        ("limit=2&around_seq=0", chat.Page(after_seq=8, limit=2)),
        ("limit=2&after_seq=0&before_seq=0", chat.Page(before_seq=0, after_seq=8, limit=2)),
        ("limit=2&after_seq=&before_seq=9", chat.Page(before_seq=7, limit=2)),
    ],
)
async def test_the_cursor_goes_on_in_the_direction_of_the_page(
    gateway: Gateway, query: str, next_page: chat.Page
) -> None:
    gateway.services.answers["GetHistory"] = chat.GetHistoryResponse(
        messages=messages(7, 8), has_more=True
    )
    path = "/v1/conversations/g:1001/messages"
    page = (await gateway.request("GET", f"{path}?{query}")).json()
    assert [item["seq"] for item in page["items"]] == [7, 8]
    await gateway.request("GET", f"{path}?limit=2&cursor={page['next_cursor']}")
    assert gateway.services.last.message.page == next_page


@pytest.mark.parametrize(
    ("query", "page"),
    [
        ("", chat.Page(limit=50)),
        ("after_seq=0", chat.Page(after_seq=0, limit=50)),
        ("before_seq=0", chat.Page(before_seq=0, limit=50)),
        ("around_seq=0", chat.Page(around_seq=0, limit=50)),
        ("after_seq=0&before_seq=0", chat.Page(after_seq=0, before_seq=0, limit=50)),
        ("after_seq=&before_seq&limit=&cursor=", chat.Page(limit=50)),
    ],
)
async def test_a_bound_of_0_is_a_bound_and_an_empty_one_is_none(
    gateway: Gateway, query: str, page: chat.Page
) -> None:
    gateway.services.answers["GetHistory"] = chat.GetHistoryResponse()
    response = await gateway.request("GET", f"/v1/conversations/g:1001/messages?{query}")
    assert response.status_code == 200, response.text
    assert gateway.services.last.message.page == page


async def test_the_last_page_has_no_cursor(gateway: Gateway) -> None:
    gateway.services.answers["GetHistory"] = chat.GetHistoryResponse(messages=messages(1))
    response = await gateway.request("GET", "/v1/conversations/g:1001/messages")
    assert response.json()["next_cursor"] is None


@pytest.mark.parametrize(
    "cursor", ["nonsense", "WzFd", "Wy0xLDBd", "WzAsOTIyMzM3MjAzNjg1NDc3NTgwOF0"]
)
async def test_a_cursor_of_the_clients_own_making_is_refused(gateway: Gateway, cursor: str) -> None:
    path = f"/v1/conversations/g:1001/messages?cursor={cursor}"
    response = await gateway.request("GET", path)
    assert response.status_code == 400, response.text
    assert response.json()["field"] == "cursor"
