"""A stand-in for a service: answers /readyz, and writes down when it starts and ends.

Arguments: its name, its port, the file to write to, and how it behaves (`good`, `deaf` to SIGTERM,
`broken` at the start, `mute`: never ready; `forked` is as good as `good`).
"""

import http.server
import os
import signal
import sys


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(503 if BEHAVIOUR == "mute" else 200)
        self.end_headers()
        self.wfile.write(os.environ.get("IM_GREETING", "").encode())

    def log_message(self, *_: object) -> None:
        pass


def tell(what: str) -> None:
    with open(EVENTS, "a", encoding="utf-8") as events:
        events.write(f"{what} {NAME}\n")


def end(*_: object) -> None:
    tell("ended")
    os._exit(0)


NAME, PORT, EVENTS, BEHAVIOUR = sys.argv[1:5]
if BEHAVIOUR == "broken":
    print("this is why")
    sys.exit(3)
signal.signal(signal.SIGTERM, signal.SIG_IGN if BEHAVIOUR == "deaf" else end)
server = http.server.HTTPServer(("127.0.0.1", int(PORT)), Handler)
tell("started")
server.serve_forever()
