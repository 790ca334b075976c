"""Discovery against a real etcd, which is killed, emptied, frozen and compacted."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from pydantic import SecretStr

from im_common.discovery import (
    EndpointWatcher,
    EtcdClient,
    EtcdError,
    Registration,
)
from im_common.errors import unauthenticated
from im_common.rpc.access import Gatekeeper
from im_common.rpc.server import RpcServer
from im_common.runtime import process
from im_common.runtime.backoff import Backoff
from im_common.runtime.config import RpcSettings
from im_common.runtime.context import Identity
from im_common.runtime.resources import Resources
from im_common.runtime.sections import EtcdConf
from im_common.testing.etcd import EtcdServer
from im_common.testing.ports import free_port
from im_common.testing.services import SECRET, running
from im_common.testing.waiting import eventually

HERE = "127.0.0.1:50051"
THERE = "127.0.0.1:50052"
# Longer than anything takes that comes at all.
LIMIT_S = 10.0


@asynccontextmanager
async def registered(
    client: EtcdClient, address: str = HERE, key: str = "user.rpc", ttl_s: int = 2
) -> AsyncIterator[Registration]:
    registration = Registration(client, key, address, ttl_s)
    await registration.start()
    try:
        yield registration
    finally:
        await registration.stop()


@asynccontextmanager
async def watched(
    client: EtcdClient, key: str = "user.rpc", empty_grace_s: float = 0.0
) -> AsyncIterator[EndpointWatcher]:
    watcher = EndpointWatcher(client, key, empty_grace_s=empty_grace_s)
    await watcher.start()
    try:
        yield watcher
    finally:
        await watcher.stop()


async def addresses(client: EtcdClient) -> set[str]:
    try:
        entries, _ = await client.range("user.rpc/")
    except EtcdError:
        return set()
    return set(entries.values())


async def test_an_entry_is_as_go_zero_writes_it(client: EtcdClient) -> None:
    """Key `{name}/{lease id in decimal}`, value `host:port`."""
    async with registered(client, key="user.rpc") as registration:
        assert registration.registered
        entries, _ = await client.range("user.rpc")
        [(key, value)] = entries.items()
        name, _, lease = key.partition("/")
        assert (name, value) == ("user.rpc", HERE)
        assert await client.keep_alive(int(lease)) == 2


async def test_who_listens_on_all_interfaces_is_found_at_one(
    etcd: EtcdServer, client: EtcdClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def serve(settings: RpcSettings, resources: Resources) -> None:
        gatekeeper = Gatekeeper(Nobody(), resources.service_tokens)
        server = RpcServer(
            listen_on=settings.listen_on,
            services=[],
            register=lambda _: None,
            gatekeeper=gatekeeper,
            timeout_ms=settings.timeout,
        )
        await process.serve(settings, resources, rpc=server)

    monkeypatch.setenv("POD_IP", "127.0.0.7")
    port = free_port()
    settings = RpcSettings(
        name="user-service",
        listen_on=f"0.0.0.0:{port}",
        etcd=etcd.conf.model_copy(update={"key": "user.rpc"}),
        internal_secret=SecretStr(SECRET),
    )
    async with running(serve, settings):
        await eventually(lambda: _are(client, {f"127.0.0.7:{port}"}))


class Nobody:
    async def verify(self, token: str) -> Identity:
        raise unauthenticated("nobody has a token")


async def test_an_entry_outlives_its_first_lease_time(client: EtcdClient) -> None:
    async with registered(client, ttl_s=2):
        entries, _ = await client.range("user.rpc/")
        deadline = time.monotonic() + 3.5
        while time.monotonic() < deadline:
            assert (await client.range("user.rpc/"))[0] == entries
            await asyncio.sleep(0.1)


async def test_stop_takes_the_entry_out(
    client: EtcdClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("im_common.discovery.registration.STOP_S", LIMIT_S)
    async with registered(client, ttl_s=60) as registration:
        pass
    assert not registration.registered
    assert await addresses(client) == set()


async def test_an_instance_whose_lease_was_lost_registers_again(client: EtcdClient) -> None:
    async with registered(client, ttl_s=1):
        entries, _ = await client.range("user.rpc/")
        [key] = entries
        await client.revoke(int(key.partition("/")[2]))

        async def is_another() -> bool:
            entries, _ = await client.range("user.rpc/")
            return set(entries.values()) == {HERE} and key not in entries

        await eventually(is_another)


async def test_registering_waits_for_etcd_in_the_background(etcd: EtcdServer) -> None:
    etcd.kill()
    client = EtcdClient(etcd.conf, timeout_s=1.0)
    async with asyncio.timeout(LIMIT_S), registered(client) as registration:
        assert not registration.registered
    async with registered(client) as registration:
        await asyncio.to_thread(etcd.start)
        await eventually(lambda: registration.registered)
        assert await addresses(client) == {HERE}
    await client.close()


async def test_when_etcd_has_lost_its_data_an_instance_does_not_wait_as_for_one_that_is_away(
    etcd: EtcdServer, client: EtcdClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []

    class Noted(Backoff):
        def next_s(self) -> float:
            pauses.append(super().next_s())
            return pauses[-1]

    monkeypatch.setattr("im_common.discovery.registration.Backoff", Noted)
    async with registered(client) as registration:
        etcd.kill()
        await eventually(lambda: len(pauses) >= 4 and not registration.registered, within_s=30)
        etcd.lose_data()
        grown = len(pauses)
        await asyncio.to_thread(etcd.start)
        await eventually(lambda: registration.registered, within_s=30)
    assert max(pauses) < 1.6
    assert min(pauses[grown:]) < 0.2


@pytest.mark.parametrize("keeps_data", [True, False], ids=["same data", "no data"])
async def test_an_instance_is_there_again_after_etcd_was_killed(
    etcd: EtcdServer, client: EtcdClient, keeps_data: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("im_common.discovery.registration.STOP_S", LIMIT_S)
    async with registered(client) as registration:
        etcd.kill()
        await eventually(lambda: not registration.registered)
        if not keeps_data:
            etcd.lose_data()
        await asyncio.to_thread(etcd.start)
        await eventually(lambda: registration.registered)
        await eventually(lambda: _are(client, {HERE}))
        await registration.stop()
        assert await addresses(client) == set()


async def test_a_frozen_etcd_is_noticed_and_registered_with_again(
    etcd: EtcdServer, client: EtcdClient
) -> None:
    async with registered(client) as registration:
        etcd.freeze()
        await eventually(lambda: not registration.registered)
        etcd.thaw()
        await eventually(lambda: registration.registered)
        await eventually(lambda: _are(client, {HERE}))


async def test_stop_is_quick_while_etcd_is_frozen(etcd: EtcdServer, client: EtcdClient) -> None:
    async with registered(client) as registration:
        etcd.freeze()
        # A second, by the product's clock.
        async with asyncio.timeout(5):
            await registration.stop()
    etcd.thaw()


async def test_a_dead_instance_disappears_within_its_lease(client: EtcdClient) -> None:
    async with watched(client) as watcher:
        dead = Registration(client, "user.rpc", HERE, 1)
        await dead.start()
        await eventually(lambda: watcher.endpoints == {HERE})
        assert dead._task is not None
        dead._task.cancel()
        await eventually(lambda: not watcher.endpoints)


async def test_instances_come_and_go(client: EtcdClient) -> None:
    async with watched(client) as watcher, registered(client, HERE):
        await eventually(lambda: watcher.endpoints == {HERE})
        async with registered(client, THERE):
            await eventually(lambda: watcher.endpoints == {HERE, THERE})
        await eventually(lambda: watcher.endpoints == {HERE})


async def test_a_change_is_told(client: EtcdClient) -> None:
    told: list[frozenset[str]] = []
    async with watched(client) as watcher:
        watcher.on_change = told.append
        async with registered(client):
            await eventually(lambda: told)
            assert (told, watcher.endpoints) == ([{HERE}], {HERE})


async def test_several_watchers_share_a_client(client: EtcdClient) -> None:
    async with (
        watched(client, "user.rpc") as users,
        watched(client, "chat.rpc") as chats,
        registered(client, HERE, "user.rpc"),
        registered(client, THERE, "chat.rpc"),
    ):
        await eventually(lambda: users.endpoints == {HERE})
        await eventually(lambda: chats.endpoints == {THERE})


async def test_a_longer_name_is_another_service(client: EtcdClient) -> None:
    async with (
        registered(client, HERE, "user.rpc2"),
        watched(client, "user.rpc") as watcher,
        registered(client, THERE, "user.rpc"),
    ):
        await eventually(lambda: watcher.endpoints == {THERE})


async def test_what_is_no_address_is_passed_over(client: EtcdClient) -> None:
    for number, value in enumerate(["nonsense", "a:1,b:2", ":80", "unix:/tmp/x", HERE]):
        await client.put(f"user.rpc/{number}", value)
    async with watched(client) as watcher:
        await eventually(lambda: watcher.endpoints == {HERE})


async def test_the_last_known_instances_stand_while_etcd_is_away(
    etcd: EtcdServer, client: EtcdClient
) -> None:
    await client.put("user.rpc/1", HERE)
    async with watched(client) as watcher:
        await eventually(lambda: watcher.endpoints == {HERE})
        etcd.kill()
        await eventually(lambda: _is_away(client))
        await asyncio.sleep(0.5)
        assert watcher.endpoints == {HERE}
        await asyncio.to_thread(etcd.start)
        await eventually(lambda: _put(client, "user.rpc/2", THERE))
        await eventually(lambda: watcher.endpoints == {HERE, THERE})


async def test_an_etcd_that_lost_its_data_does_not_empty_the_set_at_once(
    etcd: EtcdServer, client: EtcdClient
) -> None:
    await client.put("user.rpc/1", HERE)
    async with watched(client, empty_grace_s=30.0) as watcher:
        await eventually(lambda: watcher.endpoints == {HERE})
        etcd.kill()
        etcd.lose_data()
        await asyncio.to_thread(etcd.start)
        await eventually(lambda: watcher._emptying is not None)
        assert watcher.endpoints == {HERE}
        await eventually(lambda: _put(client, "user.rpc/2", THERE))
        await eventually(lambda: watcher.endpoints == {THERE})
        assert watcher._emptying is None


async def test_a_set_that_stays_empty_becomes_empty_after_the_grace(client: EtcdClient) -> None:
    async with watched(client, empty_grace_s=2.0) as watcher:
        async with registered(client):
            await eventually(lambda: watcher.endpoints)
        await eventually(lambda: watcher._emptying is not None)
        assert watcher.endpoints == {HERE}
        await eventually(lambda: not watcher.endpoints)


async def test_an_outage_during_the_grace_stops_it(etcd: EtcdServer, client: EtcdClient) -> None:
    async with watched(client, empty_grace_s=30.0) as watcher:
        async with registered(client):
            await eventually(lambda: watcher.endpoints)
        await eventually(lambda: watcher._emptying is not None)
        etcd.kill()
        await eventually(lambda: watcher._emptying is None)
        assert watcher.endpoints == {HERE}


async def test_a_watcher_survives_a_compaction(etcd: EtcdServer) -> None:
    """The compaction falls between its reading and its watch."""

    class LateClient(EtcdClient):
        reads = 0

        async def range(self, prefix: str) -> tuple[dict[str, str], int]:
            found = await super().range(prefix)
            LateClient.reads += 1
            if LateClient.reads == 1:
                for number in range(3):
                    await self.put(f"user.rpc/{number}", HERE)
                await etcd.compact((await super().range(prefix))[1])
            return found

    client = LateClient(etcd.conf, timeout_s=1.0)
    async with watched(client) as watcher:
        await eventually(lambda: watcher.endpoints == {HERE})
        assert LateClient.reads == 2
        await client.put("user.rpc/9", THERE)
        await eventually(lambda: watcher.endpoints == {HERE, THERE})
    await client.close()


async def test_a_standing_watch_survives_a_compaction(etcd: EtcdServer, client: EtcdClient) -> None:
    await client.put("user.rpc/1", HERE)
    async with watched(client) as watcher:
        await eventually(lambda: watcher.endpoints)
        await client.put("other", "x")
        await etcd.compact((await client.range("other"))[1])
        await client.put("user.rpc/2", THERE)
        await eventually(lambda: watcher.endpoints == {HERE, THERE})


async def test_a_frozen_etcd_delays_the_watch_no_longer_than_it_is_frozen(
    etcd: EtcdServer, client: EtcdClient
) -> None:
    await client.put("user.rpc/1", HERE)
    async with watched(client) as watcher:
        await eventually(lambda: watcher.endpoints)
        etcd.freeze()
        with pytest.raises(EtcdError):
            await client.put("user.rpc/2", THERE)
        assert watcher.endpoints == {HERE}
        etcd.thaw()
        await eventually(lambda: _put(client, "user.rpc/2", THERE))
        await eventually(lambda: watcher.endpoints == {HERE, THERE})


async def test_a_quiet_watch_ends_and_the_whole_is_compared_again(
    client: EtcdClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("im_common.discovery.etcd.WATCH_QUIET_S", 0.2)
    await client.put("user.rpc/1", HERE)
    async with watched(client) as watcher:
        await eventually(lambda: watcher.endpoints)
        watcher._entries["user.rpc/7"] = THERE
        watcher._publish()
        await eventually(lambda: watcher.endpoints == {HERE})


async def test_the_next_host_is_taken_when_one_is_away(etcd: EtcdServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:  # accepts and says nothing
        dead = f"127.0.0.1:{mute.getsockname()[1]}"
        # In which order they are asked is chance.
        client = EtcdClient(EtcdConf(hosts=[dead, dead, dead, etcd.address]), timeout_s=0.3)
        async with registered(client) as registration, watched(client) as watcher:
            await eventually(lambda: registration.registered)
            await eventually(lambda: watcher.endpoints == {HERE})
        await client.close()


async def test_one_users_reconnect_does_not_cancel_another(client: EtcdClient) -> None:
    """A watcher on a connection that is dropped begins anew, its task lives."""
    await client.put("user.rpc/1", HERE)
    async with watched(client) as watcher:
        await eventually(lambda: watcher.endpoints)
        assert client._connection is not None
        client._drop(client._connection)
        await eventually(lambda: client._connection is not None)
        await client.put("user.rpc/2", THERE)
        await eventually(lambda: watcher.endpoints == {HERE, THERE})


async def _are(client: EtcdClient, wanted: set[str]) -> bool:
    return await addresses(client) == wanted


async def _is_away(client: EtcdClient) -> bool:
    try:
        await client.range("any")
    except EtcdError:
        return True
    return False


async def _put(client: EtcdClient, key: str, value: str) -> bool:
    try:
        await client.put(key, value)
    except EtcdError:
        return False
    return True
