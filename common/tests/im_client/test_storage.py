"""Both storages of the client do the same; a file outlives its process."""

from __future__ import annotations

from pathlib import Path

import pytest

from im_client import MemoryStorage, SqliteStorage, Storage, StorageInUse


@pytest.fixture(params=["memory", "sqlite"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    return MemoryStorage() if request.param == "memory" else SqliteStorage(tmp_path / "kept.db")


async def test_what_was_written_is_there_in_the_order_of_its_keys(storage: Storage) -> None:
    await storage.write([("b/2", {"x": ["é", 1, None]}), ("b/1", 1), ("c", True), ("a", "z")])
    assert await storage.get("b/2") == {"x": ["é", 1, None]}
    assert await storage.get("b") is None
    assert await storage.list("b/") == [("b/1", 1), ("b/2", {"x": ["é", 1, None]})]
    assert await storage.list("b/", after="b/1") == [("b/2", {"x": ["é", 1, None]})]
    assert await storage.list("", limit=2) == [("a", "z"), ("b/1", 1)]
    await storage.write([("b/1", None), ("never", None), ("a", "y")])
    assert await storage.list("") == [("a", "y"), ("b/2", {"x": ["é", 1, None]}), ("c", True)]
    await storage.close()


async def test_a_write_that_cannot_be_made_changes_nothing(storage: Storage) -> None:
    await storage.write([("a", 1)])
    with pytest.raises(TypeError):
        await storage.write([("a", 2), ("b", object())])
    assert await storage.list("") == [("a", 1)]
    await storage.close()


async def test_a_file_has_one_owner_at_a_time_and_keeps_what_it_has(tmp_path: Path) -> None:
    first, second = SqliteStorage(tmp_path / "kept.db"), SqliteStorage(tmp_path / "kept.db")
    await first.write([("a", 1)])
    with pytest.raises(StorageInUse):
        await second.get("a")
    await first.close()
    await first.close()
    assert await second.get("a") == 1
    await second.close()
