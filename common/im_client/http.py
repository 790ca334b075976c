"""The HTTP API for the user who is logged in: tokens are put on and renewed, what can be repeated is
tried again."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from typing import Any

import httpx

from im_client.errors import ApiError
from im_client.parts import random_id
from im_client.session import Session, call

_ATTEMPTS = 3
_LONGEST_WAIT_S = 5.0
Query = Mapping[str, str | int | bool | None]
# Name of the part to name, content and type of the file.
Files = Mapping[str, tuple[str, bytes, str]]


class Http:
    """All methods raise ApiError."""

    def __init__(self, http: httpx.AsyncClient, session: Session) -> None:
        self._http = http
        self._session = session

    async def get(self, path: str, query: Query | None = None) -> Any:
        return await self.request("GET", path, query=query)

    async def post(self, path: str, body: Any = None) -> Any:
        return await self.request("POST", path, body=body)

    async def patch(self, path: str, body: Any) -> Any:
        return await self.request("PATCH", path, body=body)

    async def put(self, path: str, body: Any = None) -> Any:
        return await self.request("PUT", path, body=body)

    async def delete(self, path: str) -> Any:
        return await self.request("DELETE", path)

    async def all(
        self, path: str, query: Query | None = None, *, most: int | None = 10_000
    ) -> list[Any]:
        """All items of a list, page by page, some more than ``most`` at most."""
        items: list[Any] = []
        cursor = None
        while True:
            page = await self.get(path, {"limit": 100, **(query or {}), "cursor": cursor})
            items += page["items"]
            cursor = page.get("next_cursor")
            if not cursor or (most is not None and len(items) >= most):
                return items

    async def content(self, path: str) -> bytes:
        """The bytes of a file behind the API."""
        return (await self._send("GET", path)).content

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: Any = None,
        files: Files | None = None,
    ) -> Any:
        """The parsed answer; None when there is none."""
        response = await self._send(method, path, query=query, body=body, files=files)
        return response.json() if response.content else None

    async def _send(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: Any = None,
        files: Files | None = None,
    ) -> httpx.Response:
        given: dict[str, Any] = {
            "params": {k: v for k, v in (query or {}).items() if v is not None}
        }
        if body is not None:
            given["json"] = body
        if files is not None:
            given["files"] = files
        # Under the same key a repeat has no second effect.
        headers = {"Idempotency-Key": random_id()} if method == "POST" else {}
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return await self._with_token(method, self._url(path), headers, given)
            except ApiError as error:
                is_safe = method in ("GET", "POST")
                if not (is_safe and error.is_retryable) or attempt == _ATTEMPTS:
                    raise
                wait_s = 0.25 * 2**attempt * random.uniform(0.5, 1)  # noqa: S311
                if error.retry_after_ms is not None:
                    wait_s = error.retry_after_ms / 1000
                await asyncio.sleep(min(wait_s, _LONGEST_WAIT_S))
        raise AssertionError("the last attempt gives or raises")

    async def _with_token(
        self, method: str, url: str, headers: dict[str, str], given: dict[str, Any]
    ) -> httpx.Response:
        async def send(token: str) -> httpx.Response:
            whole = {**headers, "Authorization": f"Bearer {token}"}
            # A redirect leads to a store that has the bytes; httpx takes the token to no other host.
            return await call(
                self._http, method, url, headers=whole, follow_redirects=method == "GET", **given
            )

        token = await self._session.access()
        try:
            return await send(token)
        except ApiError as error:
            # A wrong password is no fault of the token, and counts each time.
            if error.status != 401 or error.code == "INVALID_CREDENTIALS":
                raise
            if error.code == "SESSION_REVOKED":
                await self._session.end("revoked")
                raise
        return await send(await self._session.renew(token))

    def _url(self, path: str) -> str:
        """A whole address is taken only when it leads to this API: a token goes nowhere else."""
        base = self._http.base_url
        url = base.join(path)
        if (url.scheme, url.host, url.port) != (base.scheme, base.host, base.port):
            raise ApiError("INVALID_ARGUMENT", f"{path} is not of this server", field="path")
        return str(url)
