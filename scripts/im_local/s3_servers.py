"""A server of S3's protocol: versitygw, which checks every signature, on a folder."""

from pathlib import Path
from typing import Any

from im_local import probes
from im_local.files import secret_once
from im_local.infra_server import Cluster, Server
from im_local.install import S3_SERVER
from im_local.paths import DataDir
from im_local.ports import HOST

_PORT = 12470
_KEY_ID = "im"
_BUCKET = "im-files"
_SECRET = "secrets/s3_secret_access_key"
# So that the secret is in no command line.
_RUN = 'ROOT_SECRET_ACCESS_KEY=$(cat "$1"); export ROOT_SECRET_ACCESS_KEY; shift; exec "$@"'


def _servers(data: DataDir, port_offset: int) -> list[Server]:
    folder, port = data.path / "infra" / "s3", _PORT + port_offset
    probe = probes.http(port, "/health")
    return [Server("s3", folder, [port], probe, lambda: _argv(data, folder, port))]


def _argv(data: DataDir, folder: Path, port: int) -> list[str]:
    secret = data.path / _SECRET
    secret_once(secret, bytes_of_entropy=24)
    # A bucket is a folder.
    (folder / "data" / _BUCKET).mkdir(parents=True, exist_ok=True)
    options = ["--port", f"{HOST}:{port}", "--access", _KEY_ID, "--health", "/health"]
    command = [str(S3_SERVER), *options, "--keep-alive", "posix", str(folder / "data")]
    return ["sh", "-c", _RUN, "sh", str(secret), *command]


def _described(port_offset: int) -> dict[str, Any]:
    return {
        "endpoint": f"http://{HOST}:{_PORT + port_offset}",
        "bucket": _BUCKET,
        "access_key_id": _KEY_ID,
        "secret_access_key_file": _SECRET,
    }


S3 = Cluster("s3", _servers, _described)
