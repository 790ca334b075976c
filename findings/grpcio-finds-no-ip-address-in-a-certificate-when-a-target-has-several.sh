#!/usr/bin/env bash
# grpcio 1.85.1: `ipv4:A,B`, the way to give a client several instances, refuses certificates that name A and B.
#
# One would expect that each connection is checked for the address that it goes to, as it is with the
# target `ipv4:A` alone. But the name that is looked for is made of the whole target, "A,B": it is no
# address and in no certificate, so every instance is refused, with the text "Hostname Verification Check
# failed", which names an address that the certificate has. It is so for several ports of one address,
# too. A DNS name that all certificates share, given as grpc.default_authority, is what works.
#
# Seen: one address: OK; two, or two ports of one: UNAVAILABLE; two with grpc.default_authority: OK.
# Exits 1 when that is no longer so. Needs openssl.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q grpcio==1.85.1
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj "/CN=example" \
  -addext "subjectAltName=DNS:example.internal,IP:127.0.0.1,IP:127.0.0.2" \
  -keyout "$folder/key.pem" -out "$folder/cert.pem" 2>/dev/null
cat >"$folder/show.py" <<'PY'
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc

METHOD = "/example.Echo/Say"
key, cert = (Path(sys.argv[1], name).read_bytes() for name in ("key.pem", "cert.pem"))
handler = grpc.unary_unary_rpc_method_handler(lambda request, context: b"OK")
server = grpc.server(ThreadPoolExecutor(2))
server.add_generic_rpc_handlers(
    [grpc.method_handlers_generic_handler("example.Echo", {"Say": handler})]
)
here = grpc.ssl_server_credentials([(key, cert)])
one, other = (f"{ip}:{server.add_secure_port(f'{ip}:0', here)}" for ip in ("127.0.0.1", "127.0.0.2"))
second = f"127.0.0.1:{server.add_secure_port('127.0.0.1:0', here)}"
server.start()


def call(*addresses, **options):
    options = [(name.replace("grpc_", "grpc."), value) for name, value in options.items()]
    trusts = grpc.ssl_channel_credentials(cert)
    with grpc.secure_channel(f"ipv4:{','.join(addresses)}", trusts, options) as channel:
        try:
            return channel.unary_unary(METHOD)(b"", timeout=5).decode()
        except grpc.RpcError as error:
            return f"{error.code().name} ({error.details()[-45:]})"


seen = {
    "one address": call(one),
    "the other": call(other),
    "both": call(one, other),
    "two ports of one": call(one, second),
    "both, by a name": call(one, other, grpc_default_authority="example.internal"),
}
for what, outcome in seen.items():
    print(f"{what}: {outcome}")
server.stop(None)
expected = ["OK", "OK", "UNAVAILABLE", "UNAVAILABLE", "OK"]
sys.exit([outcome.split()[0] for outcome in seen.values()] != expected)
PY
GRPC_VERBOSITY=NONE "$folder/venv/bin/python" "$folder/show.py" "$folder"
