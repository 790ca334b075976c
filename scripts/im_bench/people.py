"""Accounts for a benchmark, made over HTTP as a client would."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass

from im_bench.http import Client, call, insist

PASSWORD = "correct horse battery"
AT_ONCE = 8


@dataclass(frozen=True)
class Person:
    user_id: int
    username: str
    token: str


async def register(api: str, number: int) -> list[Person]:
    """So many new accounts, each with a session."""
    run = secrets.token_hex(4)
    people: list[Person] = []
    todo = iter(range(number))

    async def work() -> None:
        client = await Client.connect(api)
        for i in todo:
            username = f"bench_{run}_{i}"
            body = {"username": username, "password": PASSWORD, "device_id": "bench"}
            made = await insist(client, "POST", "/v1/auth/register", body=body)
            people.append(Person(made["user_id"], username, made["access_token"]))
        client.close()

    await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    return people


async def befriend(client: Client, asks: Person, accepts: Person) -> None:
    """The one asks, and the other accepts."""
    body = {"user_id": accepts.user_id}
    made = await call(client, "POST", "/v1/friends/requests", token=asks.token, body=body)
    path = f"/v1/friends/requests/{made['request_id']}/accept"
    await call(client, "POST", path, token=accepts.token)
