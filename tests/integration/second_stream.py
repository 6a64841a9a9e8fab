# SPDX-License-Identifier: MIT
"""What second_backend.py is made of: frames, the shared page, peers, and streams as a
handler sees them. Written from protocol/README.md alone."""

import collections
import mmap
import os
import pathlib
import re
import struct
import time
import urllib.parse

import msgpack

README = pathlib.Path(__file__).parents[2] / "protocol" / "README.md"

HELLO, GRANT, REQUEST, RESPONSE, HEAD, INFORM, BODY, WINDOW, END = range(9)
FILE, FILED, WS, CANCEL, ABORT, RETURN, DRAIN, BYE, PING, LOAD, LIMIT = range(9, 20)

# Fewest elements of the kinds a proxy may send.
FROM_PROXY = {HELLO: 3, REQUEST: 16, BODY: 3, WINDOW: 3, END: 3, FILED: 3, WS: 3}
FROM_PROXY |= {CANCEL: 3, DRAIN: 2, BYE: 3, PING: 4, LIMIT: 3}
LINK_KINDS = {HELLO, DRAIN, BYE, PING, LIMIT}

EXPECT, WEBSOCKET, RETRY, TRAILERS = 1, 2, 4, 8
WS_ACCEPT, WS_TEXT, WS_BINARY, WS_CLOSE = 0, 1, 2, 8
WS_PIECE = 16  # what a piece counts besides its bytes
MAX_INLINE, MAX_BULK, MAX_PART = 32 * 1024, 128 * 1024, 1024 * 1024
BATCH_FRAMES, BATCH_BYTES = 64, 32 * 1024
PIECE = 64 * 1024


def header_names():
    """The table "Header numbers" of the specification."""
    table = README.read_text().split("## Header numbers")[1].split("\n## ")[0]
    return {int(n): name for n, name in re.findall(r"(\d+) \| `([a-z0-9-]+)`", table)}


HEADER_NAMES = header_names()
HEADER_NUMBERS = {name: number for number, name in HEADER_NAMES.items()}


class Malformed(Exception):
    """The peer broke the protocol; the text is the name of an error."""


class Cancelled(Exception):
    """Nobody wants the answer of this stream any more."""


class Closed(Exception):
    """The client of a WebSocket said close: code (0: none) and reason."""

    def __init__(self, code, reason):
        super().__init__(code, reason)
        self.code, self.reason = code, reason


def now_us():
    return time.monotonic_ns() // 1000


def after(a, b):
    """Stream ids are serial numbers (RFC 1982)."""
    return 0 < (a - b) % 2**32 < 2**31


def text(value):
    return value.decode("latin-1")


def unpack_frames(batch):
    """All frames of a batch; text and bytes alike become bytes."""
    if len(batch) > MAX_PART:
        raise Malformed("FRAME_TOO_LARGE")
    options = {"raw": True, "strict_map_key": False, "max_buffer_size": MAX_PART}
    unpacker = msgpack.Unpacker(**options)
    unpacker.feed(batch)
    try:
        frames = list(unpacker)
    except Exception as e:
        raise Malformed("BAD_FRAME") from e
    if unpacker.tell() != len(batch):
        raise Malformed("BAD_FRAME")
    return frames


def pack_headers(headers):
    flat = []
    for name, value in headers:
        flat += [HEADER_NUMBERS.get(name.lower(), name), value.encode("latin-1")]
    return flat


def unpack_headers(flat):
    if not isinstance(flat, list) or len(flat) % 2:
        raise Malformed("BAD_FRAME")
    names = [HEADER_NAMES[n] if isinstance(n, int) else text(n) for n in flat[::2]]
    return list(zip(names, map(text, flat[1::2])))


class Page:
    """The shared page: what was started, readable after our death."""

    SLOTS = 504

    def __init__(self, path, instance):
        self.path = path
        pathlib.Path(path).unlink(missing_ok=True)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        head = struct.pack("=8sIIQ", b"BNYNPAGE", 1, self.SLOTS, instance)
        os.write(fd, head.ljust(4096, b"\0"))
        self.marks = memoryview(mmap.mmap(fd, 4096))[64:].cast("Q")
        os.close(fd)
        self.next_slot = 0

    def claim(self):
        slot = self.next_slot % self.SLOTS
        self.next_slot += 1
        self.marks[slot] = 0
        return slot

    def mark(self, slot, stream):
        self.marks[slot] = 2**32 + stream


class Peer:
    """A connection that said HELLO."""

    def __init__(self, identity, epoch, window, features, clock_us, page_slot):
        self.identity = identity
        self.epoch = epoch
        self.window = window
        self.features = features
        self.offset = now_us() - clock_us
        self.page_slot = page_slot
        self.streams = {}
        self.last_stream = 0
        self.limit = 0
        self.is_gone = False


class Stream:
    """A request and its answer; handlers use it from their thread."""

    def __init__(self, backend, peer, fields):
        _, self.number, self.flags, method, target, self.minor, scheme = fields[:7]
        client, client_port, server, server_port = fields[7:11]
        headers, body, deadline, _, request_id = fields[11:16]
        self.backend, self.peer = backend, peer
        self.method, self.target, self.scheme = text(method), text(target), text(scheme)
        self.client = text(client), client_port
        self.server = text(server), server_port
        self.id = text(request_id)
        self.headers = unpack_headers(headers)
        self.deadline = deadline and deadline + peer.offset
        self.path, _, query = self.target.partition("?")
        root = fields[16] if len(fields) > 16 else 0
        if self.path[root : root + 1] not in ("", "/") or root > len(self.path):
            raise Malformed("BAD_FRAME")
        self.root, self.rest = self.path[:root], self.path[root:]
        self.query = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))

        self.is_running = self.is_cancelled = self.is_finished = False
        self.cancel_reason = ""
        self.credit = peer.window  # we may still send
        self.filed = None
        self.ws_pieces = collections.deque()  # (op, data, fin) and ("close", code, reason)
        self.ws_is_open = self.ws_closed = False
        self.pieces = collections.deque()
        self.body_length = body if isinstance(body, int) and body is not True else None
        self.body_ended = body is None or isinstance(body, bytes)
        if self.body_ended:
            self.pieces.append(body or b"")
        self.received = self.consumed = 0
        self.granted = 0 if self.flags & EXPECT else backend.window

    # What came from the proxy; called by the thread of the socket, under the lock.

    def take_body(self, data):
        if self.body_ended or self.received + len(data) > self.granted:
            raise Malformed("BAD_FRAME")
        self.received += len(data)
        self.pieces.append(data)

    def take_end(self):
        if self.body_ended or self.body_length not in (None, self.received):
            raise Malformed("BAD_FRAME")
        self.body_ended = True

    def take_ws(self, op, rest):
        if not self.ws_is_open or self.ws_closed:
            raise Malformed("BAD_FRAME")
        if op == WS_CLOSE:
            code, reason = rest[:2]
            self.ws_closed = True
            self.ws_pieces.append((op, code, reason.decode()))
            return
        data, fin = rest[:2]
        if op not in (WS_TEXT, WS_BINARY) or len(data) > MAX_INLINE:
            raise Malformed("BAD_FRAME")
        self.received += len(data) + WS_PIECE
        if self.received > self.granted:
            raise Malformed("BAD_FRAME")
        self.ws_pieces.append((op, data, fin))

    # What the handler does.

    def check(self):
        if self.is_cancelled or self.peer.is_gone:
            raise Cancelled(self.cancel_reason)

    def send(self, kind, *fields, bulk=None):
        self.backend.send(self.peer, [kind, self.number, *fields], bulk)

    def finish(self, kind, *fields):
        with self.backend.lock:
            if self.is_finished:
                return
            self.is_finished = True
            self.peer.streams.pop(self.number, None)
        self.send(kind, *fields)

    def read_piece(self):
        """The next piece of the body; b"" at its end."""
        with self.backend.lock:
            if self.granted == 0 and not self.body_ended:
                self.granted = self.backend.window
                self.send(WINDOW, self.granted)
            while not self.pieces and not self.body_ended:
                self.check()
                self.backend.changed.wait()
            self.check()
            piece = self.pieces.popleft() if self.pieces else b""
            self.consumed += len(piece)
            if self.consumed >= self.backend.window // 2 and not self.body_ended:
                self.granted += self.consumed
                self.send(WINDOW, self.consumed)
                self.consumed = 0
        return piece

    def read(self):
        return b"".join(iter(self.read_piece, b""))

    def respond(self, status, headers=(), body=b"", reason=""):
        """The whole answer, in as many frames as it takes."""
        self.check()
        if len(body) <= MAX_INLINE:
            self.finish(RESPONSE, status, reason, pack_headers(headers), body)
            return
        self.head(status, headers, len(body), reason)
        self.write(body)
        self.end()

    def inform(self, status, headers):
        if b"inform" in self.peer.features:
            self.send(INFORM, status, pack_headers(headers))

    def head(self, status, headers=(), length=None, reason=""):
        self.check()
        self.send(HEAD, status, reason, pack_headers(headers), length)

    def write(self, data, piece=PIECE):
        view = memoryview(data)
        while view:
            with self.backend.lock:
                while self.credit == 0:
                    self.check()
                    self.backend.changed.wait()
                self.check()
                size = min(len(view), self.credit, piece)
                self.credit -= size
            if size <= MAX_INLINE // 2:
                self.send(BODY, bytes(view[:size]))
            else:
                self.send(BODY, None, bulk=bytes(view[:size]))
            view = view[size:]

    # WebSocket.

    def accept(self, subprotocol="", headers=()):
        self.check()
        self.ws_is_open = True
        self.send(WS, WS_ACCEPT, subprotocol, pack_headers(headers))

    def get_piece(self):
        """(op, data, fin), or (WS_CLOSE, code, reason)."""
        with self.backend.lock:
            while not self.ws_pieces:
                self.check()
                self.backend.changed.wait()
            piece = self.ws_pieces.popleft()
            if piece[0] != WS_CLOSE:
                self.consumed += len(piece[1]) + WS_PIECE
            if self.consumed >= self.backend.window // 2:
                self.granted += self.consumed
                self.send(WINDOW, self.consumed)
                self.consumed = 0
        return piece

    def get(self):
        """A whole message: str or bytes; raises Closed."""
        parts = []
        while True:
            op, data, fin = self.get_piece()
            if op == WS_CLOSE:
                raise Closed(data, fin)
            parts.append(data)
            if fin:
                whole = b"".join(parts)
                return whole.decode() if op == WS_TEXT else whole

    def put_piece(self, op, data, fin=True):
        with self.backend.lock:
            while self.credit < len(data) + WS_PIECE:
                self.check()
                self.backend.changed.wait()
            self.check()
            self.credit -= len(data) + WS_PIECE
        self.send(WS, op, bytes(data), fin)

    def put(self, message):
        op = WS_TEXT if isinstance(message, str) else WS_BINARY
        view = memoryview(message.encode() if op == WS_TEXT else message)
        while len(view) > MAX_INLINE:
            self.put_piece(op, view[:MAX_INLINE], False)
            view = view[MAX_INLINE:]
        self.put_piece(op, view)

    def close(self, code=1000, reason=""):
        self.check()
        self.send(WS, WS_CLOSE, code, reason)

    def offer_file(self, path, offset=0, length=None):
        """Whether the proxy sends the rest of the body from a file."""
        there = os.stat(path)
        if b"file" not in self.peer.features:
            return False
        length = there.st_size - offset if length is None else length
        inode = there.st_dev, there.st_ino
        self.send(FILE, os.path.abspath(path), *inode, offset, length)
        with self.backend.lock:
            while self.filed is None:
                self.check()
                self.backend.changed.wait()
            if self.filed:
                self.is_finished = True
                self.peer.streams.pop(self.number, None)
            return self.filed

    def takes_trailers(self):
        return bool(self.flags & TRAILERS) and b"trailers" in self.peer.features

    def end(self, trailers=()):
        self.finish(END, pack_headers(trailers) or None)

    def abort(self, reason="APP_FAILED", why=""):
        self.finish(ABORT, reason, why)

    def give_back(self, reason):
        self.finish(RETURN, reason)
