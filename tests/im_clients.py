"""People with the Python client, for tests that need no more than what an application has."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

from im_people import PASSWORD, new_name

from im_client import ApiError, ImClient, MemoryStorage, Message, Storage
from im_local.testing import System

LIMIT_S = 60.0


@dataclass
class Person:
    """A client and what it showed."""

    client: ImClient
    storage: Storage
    username: str = ""
    shown: list[Message] = field(default_factory=list)
    # What it was told of changes, as they came.
    events: list[dict[str, Any]] = field(default_factory=list)

    @property
    def id(self) -> int:
        assert self.client.user_id
        return self.client.user_id

    def chat_with(self, other: Person) -> str:
        return self.client.conversation_with(other.id)

    async def say(self, conversation_id: str, content: str, **more: Any) -> Message:
        """Waits for its place. Raises MessageRefused."""
        return await (await self.client.send(conversation_id, content, **more)).placed()

    async def talk(self, other: Person, *texts: str) -> None:
        """Waits for no answer."""
        for text in texts:
            await self.client.send(self.chat_with(other), text)

    async def get(self, path: str, **query: Any) -> Any:
        """Raises ApiError."""
        return await self.client.http.get(path, query)

    async def told(self, event: str) -> Any:
        """Waits for an event of that name; its data."""

        def of_it() -> list[Any]:
            return [one["data"] for one in self.events if one["event"] == event]

        await until(self, lambda: bool(of_it()))
        return of_it()[0]


class People:
    """All clients of a test; closed at the end of ``async with``."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._open: list[ImClient] = []

    async def new(self, storage: Storage | None = None) -> Person:
        person = await self.at(storage or MemoryStorage())
        person.username = new_name()
        await person.client.register(person.username, PASSWORD)
        return person

    async def at(self, storage: Storage, ws: str | None = None) -> Person:
        """A client on what is stored."""
        ready = self._system.ready
        gateways = ws or [*ready.ws_gateways]
        client = ImClient(ready.api, ws=gateways, storage=storage)
        person = Person(client, storage)
        client.on.message(person.shown.append)
        client.on.event(person.events.append)
        await client.open()
        self._open.append(client)
        return person

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for client in self._open:
            await client.close()


async def until(person: Person, is_so: Callable[[], bool]) -> None:
    """Looks again whenever the client tells of anything."""
    on, news = person.client.on, asyncio.Event()

    def wake(_: object) -> None:
        news.set()

    ends = [
        on.conversation(wake),
        on.state(wake),
        on.synced(wake),
        on.session(wake),
        on.event(wake),
    ]
    try:
        async with asyncio.timeout(LIMIT_S):
            while not is_so():
                news.clear()
                await news.wait()
    finally:
        for end in ends:
            end()


async def make_group(owner: Person, *members: Person) -> int:
    body = {"name": "team", "member_ids": [member.id for member in members]}
    return int((await owner.client.http.post("/v1/groups", body))["group_id"])


async def history(person: Person, conversation_id: str) -> list[Message]:
    """All that the server has of it; asked again while it is away."""
    items: list[Message] = []
    async with asyncio.timeout(LIMIT_S):
        while True:
            query = {"after_seq": items[-1].seq if items else 0, "limit": 100}
            path = f"/v1/conversations/{conversation_id}/messages"
            try:
                page = (await person.client.http.get(path, query))["items"]
            except ApiError as error:
                if not error.is_retryable:
                    raise
                continue
            items += map(Message.of, page)
            if len(page) < 100:
                return items
