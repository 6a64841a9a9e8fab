# SPDX-License-Identifier: MIT
"""What the test_http_* files share: requests as bytes, and looks at connections."""

import json
import socket
import struct
import time
from urllib.parse import quote

import pytest
from conftest import Connection

HELLO = b"hello\n"
EXPECT = "Expect: 100-continue"
ONE_THREAD = ("--threads", "1", "--edge-threads", "1")


def connect(site, **more):
    connection = Connection(site.address, **more)
    connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def get(target, *lines, version="1.1", method="GET"):
    """A request as bytes."""
    lines = [f"{method} {target} HTTP/{version}", "Host: a", *lines, "", ""]
    return "\r\n".join(lines).encode("latin-1")


GET = get("/hello")


def post(target, *lines, version="1.1"):
    return get(target, *lines, version=version, method="POST")


def steps(*words):
    """A target that makes apps/steps.py do this."""
    return "/steps?" + quote(";".join(words), safe=",;")


def assert_usable(connection):
    assert connection.ask("GET", "/hello").body == HELLO


def assert_silent(connection, seconds):
    """Nothing comes, not even the end."""
    connection.socket.settimeout(seconds)
    with pytest.raises(TimeoutError):
        connection.socket.recv(1)
    connection.socket.settimeout(10)


def end_of(connection):
    """How the other side ended the connection; what came before is in its buffer."""
    try:
        while data := connection.socket.recv(1 << 20):
            connection.buffer += data
    except ConnectionResetError:
        return "reset"
    return "closed"


def leave_by_reset(connection):
    linger = struct.pack("ii", 1, 0)
    connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    connection.close()


def leave_by_shutdown(connection):
    connection.socket.shutdown(socket.SHUT_WR)
    assert connection.is_closed()


def journal_of(site):
    """What apps/echo.py saw since the last question."""
    with connect(site) as connection:
        return json.loads(connection.ask("JOURNAL", "/echo").body)


class Clock:
    def __enter__(self):
        self.began = time.monotonic()
        return self

    def __exit__(self, *_):
        self.seconds = self.passed()

    def passed(self):
        return time.monotonic() - self.began
