"""Signing keys: the file, its rotation, and what running services make of it."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jwt
import pytest

from auth_service import keys
from auth_service.keys import KeyRing
from im.auth.v1 import auth_pb2 as pb
from im_common.domain.ids import now_ms
from im_common.domain.key_file import (
    SIGNS_AFTER_MS,
    SLACK_MS,
    KeyFileError,
    ensure_key_file,
    read_keys,
    rotate,
)
from im_common.testing.services import SECRET, call
from im_common.testing.waiting import eventually

if TYPE_CHECKING:
    from conftest import Backend

LIFE_MS = 900_000


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "keys" / "auth_keys.json"
    ensure_key_file(path)
    return path


def age(path: Path, by_ms: int) -> None:
    """As if all keys had been made that much earlier."""
    content = json.loads(path.read_text())
    for key in content["keys"]:
        key["created_at"] -= by_ms
    path.write_text(json.dumps(content))


def test_a_missing_file_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "keys.json"

    assert ensure_key_file(path)
    before = path.read_bytes()
    assert not ensure_key_file(path)

    assert path.read_bytes() == before
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(read_keys(path)) == 1


def test_a_first_key_signs_at_once(file: Path) -> None:
    assert KeyRing(file).signing().kid == read_keys(file)[0].kid


def test_a_new_key_is_published_before_it_signs(file: Path) -> None:
    (old,) = read_keys(file)
    new = rotate(file, token_life_ms=LIFE_MS)

    ring = KeyRing(file)
    assert [key.kid for key in ring.all()] == [new.kid, old.kid]
    assert ring.signing().kid == old.kid

    age(file, SIGNS_AFTER_MS)
    assert KeyRing(file).signing().kid == new.kid
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_rotation_by_root_leaves_the_file_to_whom_it_belongs(file: Path) -> None:
    """Else a service that runs as another user could not start with it any more."""
    os.chown(file, 10001, 10002)
    file.chmod(0o640)

    rotate(file, token_life_ms=LIFE_MS)

    status = file.stat()
    assert (status.st_uid, status.st_gid) == (10001, 10002)
    assert stat.S_IMODE(status.st_mode) == 0o640


def test_an_old_key_stays_until_its_last_token_has_expired(file: Path) -> None:
    (oldest,) = read_keys(file)
    second = rotate(file, token_life_ms=LIFE_MS)
    age(file, LIFE_MS)
    third = rotate(file, token_life_ms=LIFE_MS)
    assert {key.kid for key in read_keys(file)} == {oldest.kid, second.kid, third.kid}

    age(file, LIFE_MS + SIGNS_AFTER_MS + SLACK_MS)
    fourth = rotate(file, token_life_ms=LIFE_MS)
    assert {key.kid for key in read_keys(file)} == {third.kid, fourth.kid}


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"keys": []}', '{"keys": [{"kid": "a"}]}', "\xff"]
)
def test_what_is_no_key_file_is_said_to_be_none(file: Path, content: str) -> None:
    file.write_text(content, encoding="latin-1")

    with pytest.raises(KeyFileError, match="key"):
        read_keys(file)
    with pytest.raises(KeyFileError):
        ensure_key_file(file)


def test_a_running_service_keeps_its_keys_when_the_file_breaks(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "LOOK_EVERY_S", 0)
    ring = KeyRing(file)
    kid = ring.signing().kid

    file.write_text("{")
    assert ring.signing().kid == kid
    file.unlink()
    assert ring.signing().kid == kid
    ensure_key_file(file)
    assert ring.signing().kid != kid


async def test_a_rotation_logs_nobody_out(backend: Backend) -> None:
    pair = await backend.register("")
    old_kid = kid_of(pair.access_token)
    new = rotate(backend.key_file, token_life_ms=LIFE_MS)

    async def new_key_signs() -> bool:
        return kid_of((await backend.register()).access_token) == new.kid

    await eventually(new_key_signs)
    assert {key.kid for key in await jwks(backend)} == {old_kid, new.kid}
    await backend.profile(pair.access_token)
    fresh = await backend.refresh(pair.refresh_token)
    assert kid_of(fresh.access_token) == new.kid
    # user-service has not seen this key before.
    await backend.profile(fresh.access_token)


async def test_the_published_keys_verify_tokens_and_hold_no_secret(backend: Backend) -> None:
    token = (await backend.register()).access_token
    (key,) = await jwks(backend)

    assert (key.kty, key.crv, key.alg, key.use) == ("OKP", "Ed25519", "EdDSA", "sig")
    public = jwt.PyJWK({"kty": key.kty, "crv": key.crv, "x": key.x, "alg": key.alg})
    jwt.decode(token, public, algorithms=["EdDSA"], audience="im", issuer="im-auth")
    assert json.loads(backend.key_file.read_text())["keys"][0]["private_key"] not in str(key)


def test_without_a_key_file_the_service_does_not_start_and_says_why(tmp_path: Path) -> None:
    path = tmp_path / "none.json"

    ended = run("serve", path)

    assert ended.returncode == 2
    assert f"{path}: no such key file" in ended.stderr
    assert "keys init" in ended.stderr


def test_the_command_makes_rotates_and_lists_keys(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    assert run("keys", path, "rotate").returncode == 2

    assert run("keys", path, "init").returncode == 0
    (first,) = read_keys(path)
    assert run("keys", path, "rotate").returncode == 0

    listed = run("keys", path, "list").stdout
    assert [line.split()[0] for line in listed.splitlines()] == [key.kid for key in read_keys(path)]
    assert first.kid in listed
    made_at = read_keys(path)[0].created_at
    assert now_ms() - made_at < 60_000


def kid_of(token: str) -> Any:
    return jwt.get_unverified_header(token)["kid"]


async def jwks(backend: Backend) -> list[pb.Jwk]:
    return list((await call(backend.auth.GetJwks, pb.GetJwksRequest())).keys)


def run(command: str, key_file: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    config = Path(__file__).parents[1] / "etc" / "auth.yaml"
    environment = {n: v for n, v in os.environ.items() if not n.startswith("IM_")}
    return subprocess.run(
        [sys.executable, "-m", "auth_service", command, *arguments, "-f", config],
        env=environment | {"IM_INTERNAL_SECRET": SECRET, "IM_KEYS__FILE": str(key_file)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
