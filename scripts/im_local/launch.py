"""The start of the real backend: `system` with what `prepare` gives it."""

import asyncio
import contextlib
import json
import os
import shutil
from asyncio.subprocess import PIPE
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from im_local.errors import LocalError
from im_local.files import write_atomically
from im_local.infra_file import Infra, read_infra
from im_local.lifetime import die_with
from im_local.paths import PYTHON, ROOT, DataDir
from im_local.prepare import Account, Request, Subject
from im_local.processes import SERVICES
from im_local.system import System, base_environment
from im_local.up import Envs, Launch

# The tool that looks after the system.
ADMIN = "im-admin"
# What the embedded servers and databases take at once, most of it etcd for what it will write; and what
# a system that was there before must have at least.
NEW_MIB, OLD_MIB = 160, 10


def backend(
    data: DataDir,
    *,
    port_offset: int,
    infra_file: Path | None,
    scale: Mapping[str, int] = {},
    environ: Mapping[str, str] = os.environ,
) -> Launch:
    """The whole backend, with so many instances of a service as `scale` says, and the caller's settings
    in `environ`.

    Raises LocalError when the infra file cannot be used, or when the disk is full.
    """
    infra = read_infra(infra_file) if infra_file else None
    system = System(data, port_offset, infra, scale)
    if infra is None:
        _ensure_room(data)
        # Valkey does not make its own folder, as etcd does.
        (data.path / "redis").mkdir(exist_ok=True)

    async def prepare() -> Envs:
        return await _prepare(system, environ)

    return Launch(data, system, prepare, base_environment(), infra_file)


def _ensure_room(data: DataDir) -> None:
    """None of those who would find the disk full says so plainly."""
    wanted = OLD_MIB if (data.path / "etcd").exists() else NEW_MIB
    free = shutil.disk_usage(data.path).free // 2**20
    if free < wanted:
        raise LocalError(
            f"The disk of {data.path} has {free} MiB left, and {wanted} are needed. Make room there, "
            "or choose another folder with --data DIR."
        )


async def _prepare(system: System, environ: Mapping[str, str]) -> Envs:
    process = await asyncio.create_subprocess_exec(
        PYTHON,
        "-P",
        "-m",
        "im_local.prepare",
        cwd=ROOT,
        # The caller's settings are its to check, so it gets all of them.
        env=base_environment() | dict(environ),
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
        start_new_session=True,
        preexec_fn=partial(die_with, os.getpid()),
    )
    try:
        output, errors = await process.communicate(_request(system).to_json().encode())
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    if process.returncode != 0:
        raise LocalError(errors.decode("utf-8", "replace").strip()[-4000:])
    envs: Envs = json.loads(output)
    # It is no process that runs; whoever starts it finds here what it needs, passwords included.
    text = json.dumps(envs.pop(ADMIN))
    write_atomically(system.data.secrets / f"{ADMIN}.json", text, mode=0o600)
    return {name: base_environment() | variables for name, variables in envs.items()}


def _request(system: System) -> Request:
    offers = {process.name: process.offers for process in system.services()}
    subjects = [
        Subject(
            name=service.name,
            config=service.config_file,
            settings=service.settings,
            # Once is enough.
            migrations=service.migrations if service.number == 1 else "",
            offers=offers[service.name],
        )
        for service in system.instances
    ]
    admin = Subject(
        name=ADMIN,
        config="common/im_admin/admin.yaml",
        settings="im_admin.config:AdminSettings",
        migrations="",
        offers=system.shared_offers(),
    )
    subjects.append(admin)
    keys = offers["auth"]["IM_KEYS__FILE"]
    return Request(subjects, keys, _account(system.infra) if system.infra else None)


def _account(infra: Infra) -> Account:
    databases = sorted({service.database for service in SERVICES if service.database})
    return Account(infra.mysql, infra.mysql_user, infra.mysql_password, databases, infra.mysql_tls)
