"""Stand-ins for auth-service, user-service and friend-service: users who are there at once, with real
tokens, and blocks.

For tests of the other services. All answer on one real gRPC server, and demand of their callers what
their protos declare.
"""

from __future__ import annotations

import base64
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from redis.asyncio import Redis

from im.auth.v1 import auth_pb2
from im.auth.v1.auth_pb2_grpc import AuthServiceServicer, add_AuthServiceServicer_to_server
from im.friend.v1 import friend_pb2
from im.friend.v1.friend_pb2_grpc import FriendServiceServicer, add_FriendServiceServicer_to_server
from im.user.v1 import user_pb2
from im.user.v1.user_pb2_grpc import (
    PresenceServiceServicer,
    UserServiceServicer,
    add_PresenceServiceServicer_to_server,
    add_UserServiceServicer_to_server,
)
from im_common.domain.access_tokens import AUDIENCE, ISSUER, AccessTokens, session_key
from im_common.domain.ids import FIRST_ID
from im_common.errors import not_found, unavailable
from im_common.rpc.access import Gatekeeper
from im_common.rpc.server import RpcServer
from im_common.rpc.service_token import ServiceTokens
from im_common.runtime.ed25519 import ALGORITHM
from im_common.runtime.sections import ClientConf
from im_common.testing.services import SECRET

_KEY_ID = "test"
_TOKEN_S = 900
LAST_SEEN = 1_700_000_000_000
_numbers = itertools.count(FIRST_ID)


@dataclass(frozen=True, slots=True)
class Person:
    user_id: int
    token: str
    session_id: str


class People:
    """The users there are; ``calls`` counts what the service under test asks of them."""

    def __init__(self, redis: Redis, key: Ed25519PrivateKey, conf: ClientConf) -> None:
        # How the service under test reaches the three.
        self.conf = conf
        self.calls: Counter[str] = Counter()
        # What is known of users besides their ids; without a nickname it is their username.
        self.nicknames: dict[int, str] = {}
        # Who is online; the others were seen last at LAST_SEEN.
        self.online: set[int] = set()
        # (a, b): a has blocked b.
        self.blocks: set[tuple[int, int]] = set()
        # The friends of each, in ascending order.
        self.friends: dict[int, list[int]] = {}
        # Nobody says who they are.
        self.friends_are_away = False
        self._redis = redis
        self._key = key
        self._ids: set[int] = set()

    async def new(self) -> Person:
        """Somebody with an account and a session."""
        user_id = next(_numbers)
        session_id = f"session-{user_id}"
        await self._redis.hset(session_key(session_id), mapping={"user_id": user_id})
        self._ids.add(user_id)
        return Person(user_id, self._token(user_id, session_id), session_id)

    async def several(self, number: int) -> list[Person]:
        return [await self.new() for _ in range(number)]

    def crowd(self, number: int) -> list[int]:
        """The ids of users who never log in."""
        ids = list(itertools.islice(_numbers, number))
        self._ids.update(ids)
        return ids

    def stranger(self) -> int:
        """An id that nobody has."""
        return next(_numbers)

    async def end_session(self, person: Person) -> None:
        await self._redis.delete(session_key(person.session_id))

    def known(self, user_ids: Any) -> list[int]:
        return [user_id for user_id in user_ids if user_id in self._ids]

    def user(self, user_id: int) -> user_pb2.User:
        """As everybody sees one."""
        username = f"user{user_id}"
        return user_pb2.User(
            user_id=user_id,
            username=username,
            nickname=self.nicknames.get(user_id, username),
            avatar=f"{username}.png",
        )

    def _token(self, user_id: int, session_id: str) -> str:
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": str(user_id),
            "sid": session_id,
            "did": "device",
            "plt": "other",
            "exp": int(time.time()) + _TOKEN_S,
        }
        return jwt.encode(claims, self._key, ALGORITHM, headers={"kid": _KEY_ID})


@asynccontextmanager
async def people_there(redis: Redis) -> AsyncIterator[People]:
    """Answers until the block ends; sessions are in ``redis``."""
    key = Ed25519PrivateKey.generate()
    conf = ClientConf(endpoints=["127.0.0.1:0"])
    people = People(redis, key, conf)

    def register(server: grpc.aio.Server) -> None:
        auth = _Auth(people, key.public_key())  # type: ignore[abstract]
        add_AuthServiceServicer_to_server(auth, server)
        users = _Users(people)  # type: ignore[abstract]
        add_UserServiceServicer_to_server(users, server)
        presence = _Presences(people)  # type: ignore[abstract]
        add_PresenceServiceServicer_to_server(presence, server)
        friends = _Friends(people)  # type: ignore[abstract]
        add_FriendServiceServicer_to_server(friends, server)

    server = RpcServer(
        listen_on="127.0.0.1:0",
        services=[
            "im.auth.v1.AuthService",
            "im.user.v1.UserService",
            "im.user.v1.PresenceService",
            "im.friend.v1.FriendService",
        ],
        register=register,
        gatekeeper=Gatekeeper(
            AccessTokens(_OneKey(key.public_key()), redis), ServiceTokens(SECRET, "people")
        ),
        timeout_ms=5000,
    )
    await server.start()
    people.conf = ClientConf(endpoints=[f"127.0.0.1:{server.port}"])
    try:
        yield people
    finally:
        await server.stop(0)


class _OneKey:
    def __init__(self, key: Ed25519PublicKey) -> None:
        self._key = key

    async def find(self, _kid: str) -> Ed25519PublicKey:
        return self._key


class _Auth(AuthServiceServicer):
    def __init__(self, people: People, key: Ed25519PublicKey) -> None:
        self._people = people
        self._x = base64.urlsafe_b64encode(key.public_bytes_raw()).rstrip(b"=").decode()

    async def GetJwks(
        self, _request: auth_pb2.GetJwksRequest, _context: Any
    ) -> auth_pb2.GetJwksResponse:
        self._people.calls["GetJwks"] += 1
        key = auth_pb2.Jwk(
            kid=_KEY_ID, kty="OKP", crv="Ed25519", x=self._x, alg=ALGORITHM, use="sig"
        )
        return auth_pb2.GetJwksResponse(keys=[key])


class _Users(UserServiceServicer):
    def __init__(self, people: People) -> None:
        self._people = people

    async def GetUser(
        self, request: user_pb2.GetUserRequest, _context: Any
    ) -> user_pb2.GetUserResponse:
        self._people.calls["GetUser"] += 1
        if not self._people.known([request.user_id]):
            raise not_found("user")
        return user_pb2.GetUserResponse(user=self._people.user(request.user_id))

    async def BatchGetUsers(
        self, request: user_pb2.BatchGetUsersRequest, _context: Any
    ) -> user_pb2.BatchGetUsersResponse:
        self._people.calls["BatchGetUsers"] += 1
        known = self._people.known(request.user_ids)
        return user_pb2.BatchGetUsersResponse(users=map(self._people.user, known))

    async def GetNames(
        self, request: user_pb2.GetNamesRequest, _context: Any
    ) -> user_pb2.GetNamesResponse:
        self._people.calls["GetNames"] += 1
        users = map(self._people.user, self._people.known(request.user_ids))
        return user_pb2.GetNamesResponse(
            names=[
                user_pb2.Names(user_id=u.user_id, username=u.username, nickname=u.nickname)
                for u in users
            ]
        )

    async def CheckUsers(
        self, request: user_pb2.CheckUsersRequest, _context: Any
    ) -> user_pb2.CheckUsersResponse:
        self._people.calls["CheckUsers"] += 1
        return user_pb2.CheckUsersResponse(user_ids=self._people.known(request.user_ids))


class _Presences(PresenceServiceServicer):
    def __init__(self, people: People) -> None:
        self._people = people

    async def GetOnlineUsers(
        self, request: user_pb2.GetOnlineUsersRequest, _context: Any
    ) -> user_pb2.GetOnlineUsersResponse:
        self._people.calls["GetOnlineUsers"] += 1
        return user_pb2.GetOnlineUsersResponse(
            presences=[
                user_pb2.Presence(
                    user_id=user_id, online=user_id in self._people.online, last_seen=LAST_SEEN
                )
                for user_id in request.user_ids
            ]
        )


class _Friends(FriendServiceServicer):
    def __init__(self, people: People) -> None:
        self._people = people

    async def BatchIsBlocked(
        self, request: friend_pb2.BatchIsBlockedRequest, _context: Any
    ) -> friend_pb2.BatchIsBlockedResponse:
        self._people.calls["BatchIsBlocked"] += 1
        blocks = self._people.blocks
        pairs = [(pair.user_id, pair.target_id) for pair in request.pairs]
        return friend_pb2.BatchIsBlockedResponse(
            blocked=[
                pair[::-1] in blocks or (request.both_ways and pair in blocks) for pair in pairs
            ]
        )

    async def BatchListFriendIds(
        self, request: friend_pb2.BatchListFriendIdsRequest, _context: Any
    ) -> friend_pb2.BatchListFriendIdsResponse:
        self._people.calls["BatchListFriendIds"] += 1
        if self._people.friends_are_away:
            raise unavailable("friend-service is away")
        friends = self._people.friends
        return friend_pb2.BatchListFriendIdsResponse(
            lists=[friend_pb2.FriendIds(friend_ids=friends.get(i, [])) for i in request.user_ids]
        )
