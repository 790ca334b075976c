"""Who is logged in, and the tokens of it, renewed once however many need it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx

from im_client.errors import ApiError, logged_out
from im_client.parts import now_ms, random_id
from im_client.storage import Storage

_KEY = "session"
_DEVICE_KEY = "device"
# A token that is about to expire is renewed before it is used.
_MARGIN_MS = 30_000


async def call(http: httpx.AsyncClient, method: str, url: str, **arguments: Any) -> httpx.Response:
    """One request; raises ApiError for each answer that is no success, and for none."""
    try:
        response = await http.request(method, url, **arguments)
    except httpx.HTTPError as error:
        raise ApiError("UNAVAILABLE", f"the server cannot be reached: {error!r}") from error
    if response.is_success or response.is_redirect:
        return response
    raise _problem(response)


def _problem(response: httpx.Response) -> ApiError:
    try:
        said = response.json()
    except ValueError:
        said = {}
    if not isinstance(said, dict):
        said = {}
    retry_after = response.headers.get("Retry-After", "")
    after_ms = int(retry_after) * 1000 if retry_after.isdecimal() else None
    return ApiError(
        said.get("code") or ("UNAVAILABLE" if response.is_server_error else "INVALID_ARGUMENT"),
        said.get("detail") or said.get("title") or "",
        status=response.status_code,
        field=said.get("field"),
        retry_after_ms=said.get("retry_after_ms", after_ms),
    )


class Session:
    """``on_end`` is called with the reason when the session is over."""

    def __init__(self, http: httpx.AsyncClient, storage: Storage, platform: str) -> None:
        self._http = http
        self._storage = storage
        self._platform = platform
        self._tokens: dict[str, Any] | None = None
        self._renewing: asyncio.Task[str] | None = None
        self.on_end: Callable[[str], object] = lambda reason: None

    @property
    def user_id(self) -> int | None:
        return self._tokens["user_id"] if self._tokens else None

    @property
    def session_id(self) -> str | None:
        return self._tokens["session_id"] if self._tokens else None

    @property
    def device_id(self) -> str:
        return str(self._tokens["device_id"]) if self._tokens else ""

    async def load(self) -> int | None:
        self._tokens = await self._storage.get(_KEY)
        return self.user_id

    async def begin(self, path: str, body: dict[str, Any]) -> None:
        """By `register` or `login`."""
        device_id = await self._device()
        whole = {**body, "device_id": device_id, "platform": self._platform}
        await self._keep((await call(self._http, "POST", path, json=whole)).json(), device_id)

    async def logout(self) -> None:
        """Ends the session on the server, as far as it can be reached, and here in any case."""
        try:
            headers = {"Authorization": f"Bearer {await self.access()}"}
            await call(self._http, "POST", "/v1/auth/logout", headers=headers)
        except ApiError:
            pass
        await self.end("logout")

    async def access(self) -> str:
        """An access token that is good for the next moments."""
        if not self._tokens:
            raise logged_out()
        token = str(self._tokens["access_token"])
        if self._tokens["expires_at"] - _MARGIN_MS > now_ms():
            return token
        return await self.renew(token)

    async def renew(self, stale: str) -> str:
        """A newer access token than ``stale``, asked for once by all that need it."""
        if self._tokens and self._tokens["access_token"] != stale:
            return str(self._tokens["access_token"])
        if self._renewing is None or self._renewing.done():
            self._renewing = asyncio.create_task(self._renew())
        # Who is cancelled does not end it for the others.
        return await asyncio.shield(self._renewing)

    async def end(self, reason: str) -> None:
        """Nothing of it is kept but what was not sent yet."""
        if not self._tokens:
            return
        self._tokens = None
        await self._storage.write([(_KEY, None)])
        self.on_end(reason)

    async def close(self) -> None:
        """A pair of tokens that was asked for is stored first: the old one is worth nothing by then."""
        if self._renewing:
            await asyncio.gather(self._renewing, return_exceptions=True)

    async def _renew(self) -> str:
        if not self._tokens:
            raise logged_out()
        body = {
            "refresh_token": self._tokens["refresh_token"],
            "device_id": self._tokens["device_id"],
        }
        try:
            # A lost answer is no harm: the same token gets the same pair again for 30 s.
            answer = (await call(self._http, "POST", "/v1/auth/refresh", json=body)).json()
        except ApiError as error:
            if error.status not in (401, 403):
                raise
            await self.end("revoked")
            raise logged_out() from error
        await self._keep(answer, body["device_id"])
        return str(answer["access_token"])

    async def _device(self) -> str:
        known = await self._storage.get(_DEVICE_KEY)
        if known:
            return str(known)
        made = random_id()
        await self._storage.write([(_DEVICE_KEY, made)])
        return made

    async def _keep(self, answer: dict[str, Any], device_id: str) -> None:
        expires_at = now_ms() + answer["expires_in"] * 1000
        tokens = {**answer, "device_id": device_id, "expires_at": expires_at}
        await self._storage.write([(_KEY, tokens)])
        self._tokens = tokens
