"""Files: who sees one, and when nothing uses it any more."""

from __future__ import annotations

from typing import Any

import pytest

from chat_service.logic import files, own_view
from chat_service.model import files as model
from chat_service.model.files import ENDING_MS, UNUSED_MS, Kind
from chat_service.model.members import Cursors, new_row
from chat_service.model.members import put as put_members
from im_common.domain.file_ids import new_file_id
from im_common.domain.ids import now_ms
from im_common.errors import AppError, Code
from im_common.testing.services import refusal

# Fixtures' classes, of conftest.py, which tests do not import.
Desk = Any

A, B, C = 1001, 1002, 1003
KIND = Kind(17, "image/png", 3, 4, 5)


async def _file(desk: Desk, owner: int = A) -> str:
    file_id = await files.create_file(desk.svc, owner)
    await files.finish_file(desk.svc, file_id, KIND)
    return file_id


async def _sees(desk: Desk, user_id: int, file_id: str) -> bool:
    try:
        return str((await files.get_file(desk.svc, user_id, file_id)).file_id) == file_id
    except AppError as error:
        if error.code is not Code.NOT_FOUND:
            raise
        return False


async def _who_sees(desk: Desk, file_id: str) -> list[int]:
    return [user_id for user_id in (A, B, C) if await _sees(desk, user_id, file_id)]


async def _unused(desk: Desk, now: int) -> list[str]:
    return await desk.svc.db.write(model.take_unused, now=now, limit=100)


async def test_a_file_is_its_uploaders_alone_from_when_its_bytes_are_there(desk: Desk) -> None:
    file_id = await files.create_file(desk.svc, A)
    assert await _who_sees(desk, file_id) == []
    await files.finish_file(desk.svc, file_id, KIND)
    # A second time, when the first answer was lost.
    await files.finish_file(desk.svc, file_id, KIND)
    assert await _who_sees(desk, file_id) == [A]
    found = await files.get_file(desk.svc, A, file_id)
    assert (found.size, found.content_type, found.width, found.height) == KIND[:4]


async def test_it_does_not_change_any_more(desk: Desk) -> None:
    file_id = await _file(desk)
    error = await refusal(files.finish_file(desk.svc, file_id, KIND._replace(size=18)))
    assert error.code is Code.NOT_FOUND
    assert (await files.get_file(desk.svc, A, file_id)).size == 17


@pytest.mark.parametrize("content", ["{}", "https://im.example/v1/files/{}?x=1", '{{"a":"{}"}}'])
async def test_who_got_it_in_a_message_sees_it(desk: Desk, content: str) -> None:
    file_id = await _file(desk)
    await desk.say(A, B, content.format(file_id))
    assert await _who_sees(desk, file_id) == [A, B]


async def test_a_name_in_ext_counts_and_half_a_name_does_not(desk: Desk) -> None:
    first, second = await _file(desk), await _file(desk)
    await desk.say(A, B, second[:-1], second + "0", "x" + second)
    await desk.say(A, B, "look", ext_json=f'{{"deep":[{{"file_id":"{first}"}}]}}')
    assert await _who_sees(desk, first) == [A, B]
    assert await _who_sees(desk, second) == [A]


async def test_in_a_group_the_members_see_it_who_see_the_message(desk: Desk) -> None:
    file_id = await _file(desk)
    await desk.make(7, A, B)
    await desk.say(A, 0, file_id, group=7)
    assert await _who_sees(desk, file_id) == [A, B]
    # C came after it; B left before the next.
    rows = [new_row((C, "g:7"), Cursors(1, 1), min_seq=1) | {"left_seq": None, "changed_at": 1}]
    rows += [new_row((B, "g:7"), Cursors(1, 1)) | {"left_seq": 1, "changed_at": 1}]
    await desk.svc.db.write(put_members, rows)
    later = await _file(desk)
    await desk.say(A, 0, later, group=7)
    assert await _who_sees(desk, file_id) == [A, B]
    assert await _who_sees(desk, later) == [A, C]


async def test_who_deletes_or_clears_sees_it_no_more(desk: Desk) -> None:
    file_id = await _file(desk)
    (first,) = await desk.say(A, B, file_id)
    await own_view.delete_message(desk.svc, B, first.message_id)
    assert await _who_sees(desk, file_id) == [A]
    await desk.say(A, B, file_id)
    assert await _who_sees(desk, file_id) == [A, B]
    await own_view.clear_conversation(desk.svc, B, "s:1001:1002")
    assert await _who_sees(desk, file_id) == [A]


async def test_a_picture_of_somebody_is_for_all(desk: Desk) -> None:
    file_id = await _file(desk)
    unfinished = await files.create_file(desk.svc, A)
    error = await refusal(files.use_as_avatar(desk.svc, unfinished, "u:1001"))
    assert error.code is Code.NOT_FOUND
    await files.use_as_avatar(desk.svc, file_id, "u:1001")
    assert await _who_sees(desk, file_id) == [A, B, C]
    assert await _unused(desk, now_ms() + UNUSED_MS) == []
    # The three newest of a holder stay.
    for _ in range(3):
        await files.use_as_avatar(desk.svc, await _file(desk), "u:1001")
    assert await _who_sees(desk, file_id) == [A]


async def test_what_nothing_uses_for_a_day_ends_in_two_steps(desk: Desk) -> None:
    now = now_ms()
    used, unused = await _file(desk), await _file(desk)
    half = await files.create_file(desk.svc, A)
    await desk.say(A, B, used)
    assert await _unused(desk, now + UNUSED_MS - 1000) == []
    day = now_ms() + UNUSED_MS
    assert await _unused(desk, day) == []
    # Not to be had any more, and not to be finished.
    assert await _who_sees(desk, unused) == []
    assert (await refusal(files.finish_file(desk.svc, half, KIND))).code is Code.NOT_FOUND
    assert await _unused(desk, day) == []
    for again in (1, 2):
        assert await _unused(desk, day + again * ENDING_MS) == sorted([unused, half])
    await files.forget_files(desk.svc, [used, unused, half])
    assert await _unused(desk, day + 9 * ENDING_MS) == []
    assert await _who_sees(desk, used) == [A, B]


async def test_what_a_batch_on_its_way_began_to_use_stays(desk: Desk) -> None:
    file_id = await _file(desk)
    day = now_ms() + UNUSED_MS
    await _unused(desk, day)
    await desk.say(A, B, file_id)
    assert await _unused(desk, day + ENDING_MS) == []
    assert await _who_sees(desk, file_id) == [A, B]


async def test_it_goes_a_day_after_the_last_message_that_named_it(desk: Desk) -> None:
    file_id = await _file(desk)
    await desk.say(A, B, file_id, timestamp=1000)
    day = now_ms() + UNUSED_MS
    assert await _unused(desk, day) == []
    assert await desk.expire(before_ms=2000) == 1
    assert await _who_sees(desk, file_id) == [A]
    await _unused(desk, now_ms() + UNUSED_MS)
    assert await _unused(desk, now_ms() + UNUSED_MS + ENDING_MS) == [file_id]


@pytest.mark.parametrize("name", ["", "f_1", "f_" + "0" * 32, "F_" + "0" * 32, "f_é" + "0" * 31])
async def test_a_name_of_nothing_is_not_found(desk: Desk, name: str) -> None:
    assert not await _sees(desk, A, name)


@pytest.mark.parametrize("field", ["size", "width", "height", "thumbnail_size"])
async def test_a_file_has_no_negative_size(desk: Desk, field: str) -> None:
    file_id = await files.create_file(desk.svc, A)
    negative = KIND._replace(**{field: -1})
    error = await refusal(files.finish_file(desk.svc, file_id, negative))
    assert (error.code, error.field) == (Code.INVALID_ARGUMENT, "size")
    await files.finish_file(desk.svc, file_id, KIND._replace(**{field: 0}))


@pytest.mark.parametrize("kind", ["", "image", "image/", "/png", "image/png; a=b", "Image/PNG"])
async def test_the_kind_of_a_file_is_type_and_subtype(desk: Desk, kind: str) -> None:
    file_id = await files.create_file(desk.svc, A)
    error = await refusal(files.finish_file(desk.svc, file_id, KIND._replace(content_type=kind)))
    assert (error.code, error.field) == (Code.INVALID_ARGUMENT, "content_type")
    unknown = await refusal(files.finish_file(desk.svc, "f_1", KIND))
    assert unknown.code is Code.NOT_FOUND


async def test_a_picture_that_is_going_is_nobodys(desk: Desk) -> None:
    file_id = await _file(desk)
    await _unused(desk, now_ms() + UNUSED_MS)
    for name in (file_id, new_file_id(), "f_1"):
        error = await refusal(files.use_as_avatar(desk.svc, name, "u:1001"))
        assert error.code is Code.NOT_FOUND


async def test_as_many_unused_files_are_listed_as_are_asked_for(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = {await _file(desk) for _ in range(3)}
    for later in (0, ENDING_MS):
        now = now_ms() + UNUSED_MS + later
        monkeypatch.setattr(files, "now_ms", lambda now=now: now)
        found = await files.list_unused_files(desk.svc, 0)
    # Without a number all of them.
    assert set(found) == made
    monkeypatch.setattr(files, "now_ms", lambda: now + ENDING_MS)
    assert len(await files.list_unused_files(desk.svc, 2)) == 2
    assert await files.list_unused_files(desk.svc, files.MOST_FILES)
    for limit in (-1, files.MOST_FILES + 1):
        error = await refusal(files.list_unused_files(desk.svc, limit))
        assert (error.code, error.field) == (Code.INVALID_ARGUMENT, "limit")


async def test_so_many_files_are_forgotten_at_once_and_no_more(desk: Desk) -> None:
    many = [new_file_id() for _ in range(files.MOST_FILES + 1)]
    error = await refusal(files.forget_files(desk.svc, many))
    assert (error.code, error.field) == (Code.INVALID_ARGUMENT, "file_ids")
    await files.forget_files(desk.svc, many[1:])
    await files.forget_files(desk.svc, [])
    # No column holds the first; MariaDB would refuse to compare it.
    await files.forget_files(desk.svc, ["f_\ufffe", many[0]])
