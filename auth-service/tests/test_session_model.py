"""Any sequence of logins, refreshes, revocations, rotations and expiries leaves exactly the sessions
that a small model says."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from auth_service import keys
from im_common.domain import key_file
from im_common.domain.access_tokens import session_key
from im_common.domain.key_file import rotate
from im_common.errors import AppError, Code
from im_common.testing.services import refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from conftest import Backend, Start

    from im.auth.v1 import auth_pb2 as pb

MOST = 4
PLATFORMS = ("ios", "web")


@dataclass
class Known:
    """What the model knows of a session."""

    pair: pb.TokenPair
    platform: str
    alive: bool = True
    # Used up.
    old_tokens: list[str] = field(default_factory=list)
    # Whether the pair came of a refresh, and neither of its tokens was used.
    unused: bool = False

    def use(self) -> str:
        """The access token, for a call."""
        self.unused = False
        return self.pair.access_token


class Model:
    """The sessions of one user, oldest login first."""

    def __init__(self, multi_login: str) -> None:
        self.multi_login = multi_login
        self.sessions: list[Known] = []

    @property
    def alive(self) -> list[Known]:
        return [session for session in self.sessions if session.alive]

    def log_in(self, session: Known) -> None:
        for older in self.alive:
            if self.multi_login == "single":
                older.alive = False
            elif self.multi_login == "one_per_platform":
                older.alive = older.platform != session.platform
        self.sessions.append(session)
        for surplus in self.alive[:-MOST]:
            surplus.alive = False


@pytest.mark.parametrize("multi_login", ["allow", "one_per_platform", "single"])
def test_sessions_are_those_of_the_model(
    start: Start,
    new_name: Callable[[], str],
    monkeypatch: pytest.MonkeyPatch,
    multi_login: str,
) -> None:
    monkeypatch.setattr(keys, "LOOK_EVERY_S", 0)
    monkeypatch.setattr(key_file, "SIGNS_AFTER_MS", 0)
    with asyncio.Runner() as runner:
        running = start(multi_login=multi_login, max_sessions=MOST, rate_limits="off")
        backend = runner.run(running.__aenter__())  # type: ignore[arg-type]
        try:
            machine = _machine(backend, runner.run, new_name, multi_login)
            run_state_machine_as_test(machine, settings=BOUNDS)  # type: ignore[no-untyped-call]
        finally:
            runner.run(running.__aexit__(None, None, None))  # type: ignore[arg-type]


BOUNDS = settings(
    max_examples=30,
    stateful_step_count=20,
    deadline=None,
    # Making a failure smaller takes minutes; 20 steps can be read as they are.
    phases=[Phase.generate],
    print_blob=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


def _machine(
    backend: Backend,
    run: Callable[[Coroutine[Any, Any, Any]], Any],
    new_name: Callable[[], str],
    multi_login: str,
) -> type[RuleBasedStateMachine]:
    which = st.integers(min_value=0, max_value=99)

    class Sessions(RuleBasedStateMachine):
        @initialize()
        def register(self) -> None:
            self.name, self.password = new_name(), "password 0"
            self.model = Model(multi_login)
            pair = run(backend.register(self.name, self.password))
            self.model.log_in(Known(pair, "other"))

        @rule(platform=st.sampled_from(PLATFORMS))
        def log_in(self, platform: str) -> None:
            pair = run(backend.login(self.name, self.password, platform=platform))
            self.model.log_in(Known(pair, platform))

        @rule(index=which)
        def refresh(self, index: int) -> None:
            session = self.pick(self.model.sessions, index)
            if not session.alive:
                error = run(refusal(backend.refresh(session.pair.refresh_token)))
                assert error.code is Code.SESSION_REVOKED
                return
            session.old_tokens.append(session.pair.refresh_token)
            session.pair = run(backend.refresh(session.pair.refresh_token))
            session.unused = True

        @precondition(lambda self: any(s.old_tokens for s in self.model.sessions))
        @rule(index=which)
        def refresh_with_an_old_token(self, index: int) -> None:
            session = self.pick([s for s in self.model.sessions if s.old_tokens], index)
            token = self.pick(session.old_tokens, index)
            if session.alive and session.unused and token == session.old_tokens[-1]:
                assert run(backend.refresh(token)) == session.pair
                return
            assert run(refusal(backend.refresh(token))).code is Code.SESSION_REVOKED
            session.alive = False

        @precondition(lambda self: self.model.alive)
        @rule(by=which, index=which)
        def revoke(self, by: int, index: int) -> None:
            session, target = self.pick(self.model.alive, by), self.pick(self.model.sessions, index)
            token, target_id = session.use(), target.pair.session_id
            if target.alive:
                assert run(backend.revoke(token, target_id)) == 1
            else:
                assert run(refusal(backend.revoke(token, target_id))).code is Code.NOT_FOUND
            target.alive = False

        @precondition(lambda self: self.model.alive)
        @rule(by=which, change_password=st.booleans())
        def end_all_others(self, by: int, change_password: bool) -> None:
            session = self.pick(self.model.alive, by)
            token = session.use()
            if change_password:
                old, self.password = self.password, self.password + "!"
                run(backend.change_password(token, old, self.password))
            else:
                ended = run(backend.revoke(token))
                assert ended == len(self.model.alive) - 1
            for other in self.model.sessions:
                other.alive = other is session

        @precondition(lambda self: self.model.alive)
        @rule(index=which)
        def log_out(self, index: int) -> None:
            session = self.pick(self.model.alive, index)
            run(backend.logout(session.use()))
            session.alive = False

        @precondition(lambda self: self.model.alive)
        @rule(index=which)
        def expire(self, index: int) -> None:
            session = self.pick(self.model.alive, index)
            run(backend.redis.pexpireat(session_key(session.pair.session_id), 1))
            session.alive = False

        @rule()
        def rotate_keys(self) -> None:
            rotate(backend.key_file, token_life_ms=900_000)

        @rule()
        def check_the_list(self) -> None:
            if self.model.alive:
                token = self.model.alive[-1].use()
                listed = [s.session_id for s in run(backend.sessions(token))]
                assert listed == [s.pair.session_id for s in reversed(self.model.alive)]

        def teardown(self) -> None:
            if hasattr(self, "model"):
                self.check_the_list()
                works = run(_work(backend, self.model.sessions))
                assert works == [session.alive for session in self.model.sessions]

        def pick(self, choices: list[Any], index: int) -> Any:
            return choices[index % len(choices)]

    return Sessions


async def _work(backend: Backend, sessions: list[Known]) -> list[bool]:
    """Whether the access token of each works."""
    return [await _works(backend, session.pair.access_token) for session in sessions]


async def _works(backend: Backend, token: str) -> bool:
    try:
        await backend.validate(token)
    except AppError as error:
        if error.code is not Code.SESSION_REVOKED:
            raise
        return False
    return True
