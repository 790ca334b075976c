#!/usr/bin/env bash
# FastAPI 0.165.0 (with Starlette 1.10.0): request.scope["route"].path, the pattern of the route that a request took,
# lacks the prefix that its router was included with. With 0.136.3 it was there.
#
# One would expect the pattern by which the request was found, "/v1/items/{item}", which is what access logs, metrics,
# limits and spans are named by, as there is no other that says the route and not the item. The path of a router that
# is included twice, for two versions or beneath two parents, is one and the same now, so
# their numbers are added up in one row, and a rule that looks for "/admin/" at the beginning finds nothing. Nothing
# fails: the route is there, and so is its path; routes of the application itself, and a prefix that is given to
# APIRouter(prefix=...), are told in full, so that it is right in part. OpenAPI names the full path.
#
# Seen, one router included as /v1 and as /v2: 0.136.3: /v1/items/{item} and /v2/items/{item}; 0.165.0: twice /items/{item}.
# Exits 1 when that is no longer so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat >"$folder/show.py" <<'PY'
import asyncio
import sys

import fastapi
import httpx

named = []
items = fastapi.APIRouter()


@items.get("/items/{item}")
async def item(item: int) -> int:
    return item


class Named:
    """Notes for each request by which route it was answered."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        await self.app(scope, receive, send)
        named.append(scope["route"].path)


app = fastapi.FastAPI()
app.include_router(items, prefix="/v1")
app.include_router(items, prefix="/v2")


async def main():
    async with httpx.AsyncClient(transport=httpx.ASGITransport(Named(app)), base_url="http://test") as client:
        for version in ("v1", "v2"):
            (await client.get(f"/{version}/items/7")).raise_for_status()
    print(f"fastapi {fastapi.__version__}: {named}; OpenAPI: {list(app.openapi()['paths'])}")
    return 0 if named == sys.argv[1:] else 1


sys.exit(asyncio.run(main()))
PY
python3 -m venv "$folder/before"
"$folder/before/bin/pip" install -q fastapi==0.136.3 starlette==0.52.1 httpx==0.28.1
python3 -m venv "$folder/now"
"$folder/now/bin/pip" install -q fastapi==0.165.0 starlette==1.10.0 httpx==0.28.1
"$folder/before/bin/python" "$folder/show.py" "/v1/items/{item}" "/v2/items/{item}"
"$folder/now/bin/python" "$folder/show.py" "/items/{item}" "/items/{item}"
