# SPDX-License-Identifier: MIT
"""WebSocket (RFC 6455) by hand: a client that sees, and may send, every frame."""

import base64
import collections
import hashlib
import os
import struct

from conftest import Connection

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

Frame = collections.namedtuple("Frame", "op data fin rsv")


def masked(data, key):
    size = len(data)
    pad = (key * (size // 4 + 1))[:size]
    return (int.from_bytes(data, "big") ^ int.from_bytes(pad, "big")).to_bytes(size, "big")


def frame(op, data=b"", fin=True, rsv=0, mask=True):
    """The bytes of a frame as a client sends it."""
    size, bit = len(data), 0x80 if mask else 0
    head = bytes([(0x80 if fin else 0) | rsv << 4 | op])
    if size < 126:
        head += bytes([bit | size])
    elif size < 65536:
        head += struct.pack("!BH", bit | 126, size)
    else:
        head += struct.pack("!BQ", bit | 127, size)
    if not mask:
        return head + data
    key = os.urandom(4)
    return head + key + masked(data, key)


class Closed(ConnectionError):
    """The other side closed: `code` and `reason` of its Close frame; None without one."""

    def __init__(self, code, reason):
        super().__init__(f"closed with {code} {reason!r}")
        self.code, self.reason = code, reason


class WebSocket(Connection):
    """`answer` is the answer to the handshake, 101 or another with its body."""

    def __init__(self, address, target="/", fields=(), protocols=(), **more):
        super().__init__(address, **more)
        key = base64.b64encode(os.urandom(16)).decode()
        fields = [("Connection", "Upgrade"), ("Upgrade", "websocket"), *fields]
        fields += [("Sec-WebSocket-Version", "13"), ("Sec-WebSocket-Key", key)]
        if protocols:
            fields.append(("Sec-WebSocket-Protocol", ", ".join(protocols)))
        self.request("GET", target, fields)
        self.answer = self.head()
        if self.answer.status == 101:
            digest = hashlib.sha1((key + GUID).encode()).digest()
            assert self.answer["Sec-WebSocket-Accept"] == base64.b64encode(digest).decode()
        else:
            parts = []
            self.answer.is_cut = not all(self.pieces(self.answer, "GET", parts))
            self.answer.body = b"".join(parts)

    def send_frame(self, *words, **more):
        self.send(frame(*words, **more))

    def put(self, message):
        """Sends a str as text, bytes as binary."""
        if isinstance(message, str):
            self.send_frame(TEXT, message.encode())
        else:
            self.send_frame(BINARY, message)

    def need(self, size):
        while len(self.buffer) < size:
            if not self.receive():
                raise Closed(None, self.buffer)
        return self.take(size)

    def frame(self):
        """The next frame, whatever it is."""
        first, second = self.need(2)
        assert second < 128, "a server does not mask"
        size = second
        if second == 126:
            (size,) = struct.unpack("!H", self.need(2))
        elif second == 127:
            (size,) = struct.unpack("!Q", self.need(8))
        return Frame(first & 15, self.need(size), bool(first & 128), first >> 4 & 7)

    def get(self):
        """The next message as str or bytes; answers pings; raises Closed."""
        op, parts = None, []
        while True:
            got = self.frame()
            if got.op == CLOSE:
                code = struct.unpack("!H", got.data[:2])[0] if got.data else 1005
                raise Closed(code, got.data[2:].decode())
            if got.op == PING:
                self.send_frame(PONG, got.data)
            elif got.op != PONG:
                op = got.op or op
                parts.append(got.data)
                if got.fin:
                    data = b"".join(parts)
                    return data.decode() if op == TEXT else data

    def end(self):
        """Reads up to the end; the Close frame's (code, reason), (None, ...) without one."""
        try:
            while True:
                self.get()
        except Closed as closed:
            return closed.code, closed.reason

    def leave(self, code=1000, reason=""):
        """The closing handshake, begun here; what the server's Close frame said."""
        self.send_frame(CLOSE, struct.pack("!H", code) + reason.encode() if code else b"")
        return self.end()
