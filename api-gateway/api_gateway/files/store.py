"""Where the bytes of files are: a folder, or a bucket of S3 or of a server that speaks its protocol.

Both by obstore, in pieces, so that the memory that it takes does not grow with a file.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import obstore
import structlog
from obstore.exceptions import BaseError
from obstore.store import LocalStore, S3Store

from api_gateway.config import FilesConf, S3Conf
from im_common.errors import unavailable

if TYPE_CHECKING:
    from obstore import Attributes

log = structlog.get_logger(__name__)

# A folder takes pieces of any size; S3 none below 5 MiB but the last.
_FOLDER_PIECE_BYTES = 1024 * 1024
_S3_PIECE_BYTES = 5 * 1024 * 1024
# So many files are put into the store at once, two pieces of each in memory.
_FOLDER_PUTS, _S3_PUTS = 4, 2
_READ_BYTES = 128 * 1024
_TIMEOUT = timedelta(seconds=30)


class Served(NamedTuple):
    """What a browser is told of a file by the store itself."""

    content_type: str
    disposition: str


class FileStore:
    """Raises AppError UNAVAILABLE when the store does not do what it is asked."""

    def __init__(self, conf: FilesConf) -> None:
        self._presigned = timedelta(milliseconds=conf.s3.presigned_for)
        self._s3: S3Store | None = None
        self._clients: S3Store | None = None
        self._store: LocalStore | S3Store
        if conf.s3.bucket:
            self._store = self._s3 = _s3(conf.s3, conf.s3.endpoint)
            self._puts = asyncio.Semaphore(_S3_PUTS)
            self._piece_bytes = _S3_PIECE_BYTES
            if conf.s3.presigned_for:
                self._clients = _s3(conf.s3, conf.s3.public_endpoint or conf.s3.endpoint)
        else:
            self._store = LocalStore(prefix=conf.folder, mkdir=True)
            self._puts = asyncio.Semaphore(_FOLDER_PUTS)
            self._piece_bytes = _FOLDER_PIECE_BYTES

    async def put(self, key: str, content: IO[bytes] | bytes, served: Served) -> None:
        """All of ``content``, from its beginning; it is there as a whole or not at all."""
        attributes: Attributes | None = None
        if self._s3 is not None:
            attributes = {
                "Content-Type": served.content_type,
                "Content-Disposition": served.disposition,
            }
        async with self._puts:
            if not isinstance(content, bytes):
                content.seek(0)
            with _answering():
                await obstore.put_async(
                    self._store,
                    key,
                    content,
                    attributes=attributes,
                    chunk_size=self._piece_bytes,
                    max_concurrency=1,
                )

    async def get(self, key: str, start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes from ``start`` to before ``end``, in pieces. FileNotFoundError when it is gone."""
        if start == end:
            return _nothing()
        with _answering(is_read=True):
            found = await obstore.get_async(self._store, key, options={"range": (start, end)})
        return _pieces(found.stream(min_chunk_size=_READ_BYTES))

    async def address(self, key: str) -> str | None:
        """A URL by which a client gets it from the store itself, for a short while; None when it does
        not go that way."""
        if self._clients is None:
            return None
        return await obstore.sign_async(self._clients, "GET", key, self._presigned)

    async def remove(self, key: str) -> None:
        """Safe to repeat."""
        try:
            with _answering(is_read=True):
                await obstore.delete_async(self._store, key)
        except FileNotFoundError:
            return


def key_of(file_id: str) -> str:
    """Spread over folders by the random end of the id."""
    return f"{file_id[-2:]}/{file_id}"


def thumbnail_key_of(file_id: str) -> str:
    return key_of(file_id) + ".webp"


@contextmanager
def _answering(*, is_read: bool = False) -> Iterator[None]:
    """``is_read``: lets FileNotFoundError through; for others it says that there is no such bucket."""
    try:
        yield
    except (BaseError, OSError) as error:
        if is_read and isinstance(error, FileNotFoundError):
            raise
        # Its text names hosts and folders.
        log.error("the store of files fails", error=str(error))
        raise unavailable("the store of files does not answer") from error


async def _pieces(stream: Any) -> AsyncIterator[bytes]:
    async for piece in stream:
        yield bytes(piece)


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""


def _s3(conf: S3Conf, endpoint: str) -> S3Store:
    more: dict[str, Any] = {"endpoint": endpoint} if endpoint else {}
    secret = conf.secret_access_key.get_secret_value()
    if conf.access_key_id:
        more |= {"access_key_id": conf.access_key_id, "secret_access_key": secret}
    return S3Store(
        conf.bucket,
        prefix=conf.prefix or None,
        region=conf.region,
        virtual_hosted_style_request=conf.virtual_hosted,
        client_options={
            "allow_http": endpoint.startswith("http://"),
            "timeout": _TIMEOUT,
            "connect_timeout": timedelta(seconds=3),
        },
        retry_config={"max_retries": 2, "retry_timeout": _TIMEOUT},
        **more,
    )


__all__ = ["FileStore", "Served", "key_of", "thumbnail_key_of"]
