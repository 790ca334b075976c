#!/usr/bin/env bash
# FastAPI 0.165.0 (with Starlette 1.10.0): include_router() no longer copies the routes of a router into the
# application's list. Each request asks the routes of the included router in their order until one matches,
# and then asks all of them once more.
#
# One would expect what is said of earlier versions (github.com/fastapi/fastapi, discussion 6811): that it matters at
# the start only how routes are spread over routers. In a router of fifty routes the last one costs a hundred tries of
# a regular expression instead of fifty, and each router around it fifty more. An application that is made with
# `routes=`, the routes of its routers, looks once.
#
# Seen, tries for one request to the last of 50 routes: routes of the application 50, of a router 100, of a router
# within a router 150. Exits 1 when that is no longer so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q fastapi==0.165.0 starlette==1.10.0 httpx==0.28.1
cat >"$folder/show.py" <<'PY'
import asyncio
import sys

import httpx
from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute

tries = 0


class Counted(APIRoute):
    def matches(self, scope):
        global tries
        tries += 1
        return super().matches(scope)


def fill(router):
    for number in range(50):
        router.add_api_route(f"/things{number}/{{thing_id}}", lambda thing_id: thing_id)
    return router


async def count(app):
    global tries
    tries = 0
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here") as client:
        response = await client.get("/things49/1")
    assert response.status_code == 200, response.text
    return tries


async def main():
    router = fill(APIRouter(route_class=Counted))
    outer = APIRouter(route_class=Counted)
    outer.include_router(router)
    included, nested = FastAPI(), FastAPI()
    included.include_router(router)
    nested.include_router(outer)
    flat = FastAPI(routes=router.routes)
    counts = [await count(app) for app in (flat, included, nested)]
    print("tries: routes of the application {}, of a router {}, of a router within a router {}".format(*counts))
    sys.exit(0 if counts == [50, 100, 150] else 1)


asyncio.run(main())
PY
"$folder/venv/bin/python" "$folder/show.py"
