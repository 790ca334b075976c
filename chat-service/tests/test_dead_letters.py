"""The dead letters: listed, shown, put back on their topic."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from chat_service.mq import dead_letters
from chat_service.mq.config import Settings
from im.chat.v1.record_pb2 import ChatRecord, NewMessage
from im_common.bus import Record
from im_common.bus.dead_letter import dead_letter
from im_common.bus.kinds import open_bus
from im_common.bus.topics import CHAT_TOPIC, DEAD_LETTER_TOPIC
from im_common.runtime.config import BusConf, DbConf, RedisConf
from im_common.runtime.redis_client import open_redis
from im_common.testing.ports import free_port
from im_common.testing.services import SECRET
from im_common.testing.valkey import ValkeyServer


@pytest.fixture
def settings(valkey: ValkeyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    # It would reach the loggers of all later tests, with this test's standard error.
    monkeypatch.setattr("im_common.runtime.log.configure", lambda *_: None)
    return Settings(
        name="chat-mq",
        internal_secret=SECRET,  # type: ignore[arg-type]
        redis=valkey.conf,
        bus=BusConf(kind="redis"),
        db=DbConf(data_source=f"sqlite+aiosqlite:///{tmp_path}/x.db"),
    )


async def _bury(settings: Settings) -> None:
    redis = open_redis(settings.redis)
    await redis.flushall()
    producer = open_bus(settings.bus, lambda: redis).producer("test")
    await producer.start()
    good = ChatRecord(message=NewMessage(message_id="m-1")).SerializeToString()
    for value, reason in ((good, "a reason"), (b"\xff", "cannot be decoded")):
        record = Record(CHAT_TOPIC, 1, "7-0", b"s:1:2", value, {"traceparent": b"t"})
        await dead_letter(producer, DEAD_LETTER_TOPIC, record, reason)
    await producer.close()
    await redis.aclose()


async def _records(settings: Settings, topic: str) -> list[Record]:
    redis = open_redis(settings.redis)
    found = [record async for record in open_bus(settings.bus, lambda: redis).browse(topic)]
    await redis.aclose()
    return found


def test_they_are_listed_shown_and_replayed(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    asyncio.run(_bury(settings))
    capsys.readouterr()
    assert dead_letters.run_command(settings, "list", []) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.endswith("s:1:2  a reason")
    assert second.endswith("cannot be decoded")
    position, other = first.split()[0], second.split()[0]
    assert dead_letters.run_command(settings, "show", [position, other]) == 0
    shown = capsys.readouterr().out
    assert 'message_id: "m-1"' in shown
    assert "value (1 bytes): ff" in shown
    assert dead_letters.run_command(settings, "replay", [position]) == 0
    (again,) = asyncio.run(_records(settings, CHAT_TOPIC))
    assert (again.key, dict(again.headers)) == (b"s:1:2", {"traceparent": b"t"})
    assert ChatRecord.FromString(again.value).message.message_id == "m-1"
    assert dead_letters.run_command(settings, "replay", ["all"]) == 0
    assert len(asyncio.run(_records(settings, CHAT_TOPIC))) == 3


def test_what_is_not_there_is_said(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    assert dead_letters.run_command(settings, "show", []) == 1
    assert dead_letters.run_command(settings, "show", ["0-1"]) == 1
    assert "0-1" in capsys.readouterr().err


def test_a_log_that_is_away_is_told(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    nobody = RedisConf(host=f"127.0.0.1:{free_port()}")
    away = settings.model_copy(update={"redis": nobody})
    assert dead_letters.run_command(away, "list", []) == 1
    assert "the log is away" in capsys.readouterr().err
