"""`users disable` and `users enable`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from im.user.v1 import user_pb2 as pb
from im_common.errors import Code
from im_common.runtime.config import ClientConf
from im_common.testing.ports import free_port
from im_common.testing.services import SECRET, call, refusal
from user_service import admin

if TYPE_CHECKING:
    from conftest import UserService


async def may_be_written_to(service: UserService, user_id: int) -> bool:
    request = pb.CheckUsersRequest(user_ids=[user_id])
    answer = await call(service.users.CheckUsers, request, service="chat-service")
    return list(answer.user_ids) == [user_id]


@pytest.mark.parametrize("by", ["user_id", "username"])
async def test_a_disabled_user_is_shut_out_everywhere(service: UserService, by: str) -> None:
    person = await service.person()
    name = str(getattr(person, by)).upper()

    assert await admin.disable(service.settings, name, disabled=True) == person.user_id
    assert service.people.disabled == {person.user_id: True}
    assert not await may_be_written_to(service, person.user_id)

    await admin.disable(service.settings, name, disabled=False)
    assert service.people.disabled == {person.user_id: False}
    assert await may_be_written_to(service, person.user_id)


@pytest.mark.parametrize("name", ["nobody-has-this", "999999999", "müller", "", "9" * 30])
async def test_only_a_user_who_exists_can_be_disabled(service: UserService, name: str) -> None:
    error = await refusal(admin.disable(service.settings, name, disabled=True))

    assert error.code is Code.NOT_FOUND


async def test_a_name_with_a_space_at_its_end_is_another_one(service: UserService) -> None:
    person = await service.person()

    error = await refusal(admin.disable(service.settings, f"{person.username} ", disabled=True))

    assert error.code is Code.NOT_FOUND


async def test_nothing_changes_while_auth_service_is_away(service: UserService) -> None:
    person = await service.person()
    nowhere = ClientConf(endpoints=[f"127.0.0.1:{free_port()}"], timeout=300)
    settings = service.settings.model_copy(update={"auth_rpc": nowhere})

    error = await refusal(admin.disable(settings, person.username, disabled=True))

    assert error.code in (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED)
    assert await may_be_written_to(service, person.user_id)


def test_the_command_says_what_is_wrong(tmp_path: Path) -> None:
    config = Path(__file__).parents[1] / "etc" / "user.yaml"
    environment = {n: v for n, v in os.environ.items() if not n.startswith("IM_")}
    environment |= {
        "IM_INTERNAL_SECRET": SECRET,
        "IM_DB__DATA_SOURCE": f"sqlite+aiosqlite:///{tmp_path}/empty.db",
        "IM_AUTH_RPC__ENDPOINTS": "127.0.0.1:1",
    }

    ended = subprocess.run(
        [sys.executable, "-m", "user_service", "users", "disable", "ann", "-f", config],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ended.returncode == 1
    assert ended.stderr.startswith("user-service: ")
    assert "Traceback" not in ended.stderr
