"""TLS between the services: each shows its certificate and checks that of the other.

The files may be replaced while a process runs. A server asks for what is in force at each new
connection, and ends each that is old. A channel of gRPC's keeps for ever what it was made with, so
clients compare `credentials` and make a new channel when they are others.
"""

from __future__ import annotations

import asyncio

import grpc
import structlog

from im_common.runtime import metrics
from im_common.runtime.peer_files import PeerFiles, read_peer_files
from im_common.runtime.sections import RpcTlsConf

log = structlog.get_logger(__name__)

LOOK_EVERY_S = 2.0


class PeerTls:
    """What a process shows and whom it trusts; `follow` keeps it up to date."""

    def __init__(self, conf: RpcTlsConf) -> None:
        """Raises ValueError when a file cannot be used; it names the setting."""
        self._conf = conf
        self._refused: ValueError | None = None
        self._take(*read_peer_files(conf))

    @property
    def channel_options(self) -> list[tuple[str, str]]:
        # What a server is called, and so what its certificate is checked for. With a list of addresses
        # gRPC would look for all of it in each certificate, as if it were one name.
        return [("grpc.default_authority", self._conf.server_name)]

    def server_credentials(self) -> grpc.ServerCredentials:
        """For one port: gRPC asks anew for each connection, from threads of its own."""
        return grpc.dynamic_ssl_server_credentials(
            self._in_force(), self._in_force, require_client_authentication=self._conf.client_certs
        )

    async def follow(self) -> None:
        """Takes files that were replaced, as soon as they are of use. Until then, and for connections
        that are there, those before them stay in force."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                files, expires = await asyncio.to_thread(read_peer_files, self._conf)
            except ValueError as error:
                if str(error) != str(self._refused):
                    log.error("certificates cannot be used, the last ones stay", error=str(error))
                self._refused = error
                continue
            self._refused = None
            if files != self._files:
                self._take(files, expires)
                log.info("certificates replaced", expires=int(expires))

    def _take(self, files: PeerFiles, expires: float) -> None:
        self._files = files
        # Of the channels from now on.
        self.credentials = grpc.ssl_channel_credentials(
            files.ca, files.key or None, files.certificate or None
        )
        metrics.RPC_CERTIFICATE_EXPIRY.set(expires)

    def _in_force(self) -> grpc.ServerCertificateConfiguration:
        # A new one each time: gRPC takes what is in it.
        files = self._files
        return grpc.ssl_server_certificate_configuration(
            [(files.key, files.certificate)], root_certificates=files.ca
        )
