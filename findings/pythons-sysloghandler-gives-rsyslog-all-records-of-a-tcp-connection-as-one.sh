#!/usr/bin/env bash
# Python 3.11's SysLogHandler with socktype=SOCK_STREAM and rsyslog 8.2302.0: all records of a connection come as one
# message, when the connection ends, with the severity of the first. After a restart of rsyslog none comes any more.
#
# One would expect a message for each record, as over UDP and /dev/log: the documentation names SOCK_STREAM for use with
# rsyslog. But over TCP a message ends with a line feed or begins with its length, and the handler sends neither: it
# ends each record with a NUL, which rsyslog takes for a part of the text. So a service that was moved from UDP to TCP
# to lose nothing is silent until it stops, or has sent as much as rsyslog takes for one message; its errors are in
# the middle of one of severity info, and what alarms by severity never does. With append_nul = False and a line feed in
# the format it is as expected, until rsyslog is restarted: over TCP the handler connects once. The first record then is
# lost without an error, and each one after it is a traceback on stderr, for as long as the process lives.
#
# Seen, an info, an error and a critical: nothing while connected; after close() one message, info, with all three. With
# line feeds: three, info, err and crit, at once. Then, with rsyslog restarted, 20 errors: 0 came, 19 failed.
# Exits 1 when that is no longer so. Needs Debian 12 (amd64) with python3.11.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
chmod 755 "$folder"
cd "$folder"
apt-get -o APT::Sandbox::User=root download -qq rsyslog=8.2302.0-1+deb12u2 libestr0=0.1.11-1 \
    libfastjson4=1.2304.0-1 liblognorm5=2.0.6-4
for package in *.deb; do dpkg-deb -x "$package" server; done
cat >show.py <<'PY'
import logging
import os
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from logging.handlers import SysLogHandler
from pathlib import Path

FOLDER = Path.cwd()
LIBRARIES = FOLDER / "server/usr/lib/x86_64-linux-gnu"
OUT = FOLDER / "out"
LIMIT = 20

with socket.socket() as taken:
    taken.bind(("127.0.0.1", 0))
    PORT = taken.getsockname()[1]
(FOLDER / "rsyslog.conf").write_text(
    f"""module(load="imtcp")
input(type="imtcp" address="127.0.0.1" port="{PORT}")
template(name="line" type="string" string="%syslogseverity-text% %rawmsg%\\n")
action(type="omfile" file="{OUT}" template="line")
"""
)


@contextmanager
def rsyslog():
    command = [FOLDER / "server/usr/sbin/rsyslogd", "-n", "-f", FOLDER / "rsyslog.conf", "-i", FOLDER / "pid"]
    running = subprocess.Popen(
        [*command, "-M", LIBRARIES / "rsyslog"], env={**os.environ, "LD_LIBRARY_PATH": str(LIBRARIES)}
    )
    try:
        yield
    finally:
        running.terminate()
        running.wait(LIMIT)


class Handler(SysLogHandler):
    """As it is; counts what could not be sent instead of a traceback for each."""

    failed = 0

    def handleError(self, record):
        self.failed += 1


def handler(ending=""):
    """A handler that is connected; with an ending of its own it sends no NUL."""
    until = time.monotonic() + LIMIT
    while True:
        try:
            made = Handler(("127.0.0.1", PORT), socktype=socket.SOCK_STREAM)
            break
        except ConnectionRefusedError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)
    made.append_nul = not ending
    made.setFormatter(logging.Formatter(f"chat: %(message)s{ending}"))
    return made


def log(to, level, text):
    to.emit(logging.LogRecord("chat", level, __file__, 1, text, None, None))


def came(text):
    """The messages, once one with that text is there."""
    until = time.monotonic() + LIMIT
    while time.monotonic() < until:
        lines = OUT.read_text().splitlines() if OUT.exists() else []
        if any(text in line for line in lines):
            return lines
        time.sleep(0.05)
    raise TimeoutError(text)


def three(to):
    log(to, logging.INFO, "one")
    log(to, logging.ERROR, "two")
    log(to, logging.CRITICAL, "three")


with rsyslog():
    as_it_is, lines = handler(), handler("\n")
    three(as_it_is)
    log(lines, logging.INFO, "mark")
    while_connected = came("mark")
    as_it_is.close()
    closed = came("three")[len(while_connected) :]
    three(lines)
    log(lines, logging.INFO, "end")
    with_lines = came("end")[len(while_connected) + len(closed) :]
with rsyslog():
    other = handler("\n")
    for number in range(20):
        log(lines, logging.ERROR, f"later {number}")
    log(other, logging.INFO, "restarted")
    restarted = [line for line in came("restarted") if "later" in line]
    other.close()
print(f"while connected: {while_connected}")
print(f"after close(): {closed}")
print(f"with line feeds: {with_lines}")
print(f"after a restart: {len(restarted)} came, {lines.failed} failed")
as_stated = (
    len(while_connected) == 1
    and len(closed) == 1
    and closed[0].startswith("info ")
    and all(text in closed[0] for text in ("one", "two", "three"))
    and [line.split()[0] for line in with_lines] == ["info", "err", "crit", "info"]
    and not restarted
    and lines.failed >= 19
)
sys.exit(0 if as_stated else 1)
PY
python3.11 show.py
