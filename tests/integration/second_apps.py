# SPDX-License-Identifier: MIT
"""What second_backend.py answers with: honest handlers, dishonest ones, and a WSGI
application. A handler is a function of a Stream; its path is its name."""

import hashlib
import importlib
import io
import json
import os
import signal
import sys
import time
import urllib.parse

import msgpack
from second_stream import ABORT, BODY, END, GRANT, HEAD, RESPONSE, pack_headers

TEXT = [("Content-Type", "text/plain")]
HANDLERS = {}
seen = set()


def handler(path):
    def add(function):
        HANDLERS[path] = function
        return function

    return add


def run(stream):
    HANDLERS.get(stream.path, not_found)(stream)


def not_found(stream):
    stream.respond(404, TEXT, b"no such handler\n")


def note(stream, line):
    """Adds a line to the file that the query names, if it names one."""
    if "note" in stream.query:
        with open(stream.query["note"], "a") as f:
            f.write(line + "\n")


# Honest ones.


@handler("/hello")
def hello(stream):
    stream.respond(200, TEXT, b"hello\n")


@handler("/inspect")
def inspect(stream):
    """The request as it came over the wire."""
    about = {
        "method": stream.method,
        "target": stream.target,
        "minor": stream.minor,
        "scheme": stream.scheme,
        "flags": stream.flags,
        "client": stream.client,
        "server": stream.server,
        "headers": stream.headers,
        "id": stream.id,
        "body_length": stream.body_length,
        "body_ended": stream.body_ended,
    }
    body = stream.read()
    about["body"] = body.decode("latin-1")
    stream.respond(200, TEXT, json.dumps(about).encode())


@handler("/echo")
def echo(stream):
    stream.respond(200, TEXT, stream.read())


@handler("/digest")
def digest(stream):
    """Reads a body of any size, slowly if told to."""
    sha, size = hashlib.sha256(), 0
    for piece in iter(stream.read_piece, b""):
        sha.update(piece)
        size += len(piece)
        time.sleep(float(stream.query.get("pause", 0)))
    stream.respond(200, TEXT, f"{size} {sha.hexdigest()}\n".encode())


def pattern(size):
    return (b"0123456789abcdef" * (size // 16 + 1))[:size]


@handler("/download")
def download(stream):
    size = int(stream.query.get("bytes", 0)) + (int(stream.query.get("mib", 0)) << 20)
    piece = int(stream.query.get("piece", 65536))
    stream.head(200, TEXT, None if "unknown" in stream.query else size)
    data = pattern(piece)
    for _ in range(size // piece):
        stream.write(data, piece)
    stream.write(data[: size % piece])
    note(stream, "sent")
    stream.end()


@handler("/slow")
def slow(stream):
    note(stream, "slow")
    time.sleep(float(stream.query["s"]))
    stream.respond(200, TEXT, b"slow\n")


@handler("/listen")
def listen(stream):
    """Notes each piece of the body as it comes."""
    note(stream, "begun")
    for piece in iter(stream.read_piece, b""):
        note(stream, piece.decode())
    stream.respond(200, TEXT, b"heard\n")


def wait_for(stream, path):
    while not os.path.exists(path):
        stream.check()
        time.sleep(0.005)


@handler("/hold")
def hold(stream):
    """Answers when a file is there."""
    note(stream, "held")
    wait_for(stream, stream.query["until"])
    stream.respond(200, TEXT, b"released\n")


@handler("/drip")
def drip(stream):
    """A small piece, and the next one when the client has it."""
    stream.head(200, TEXT, None)
    for i in range(int(stream.query["pieces"])):
        stream.write(b"piece %d\n" % i)
        wait_for(stream, f"{stream.query['got']}.{i}")
    stream.end()


@handler("/trailers")
def trailers(stream):
    """Fields behind the body, the value of one as the query says."""
    length = 5 if "length" in stream.query else None
    stream.head(200, [*TEXT, ("Trailer", "X-Sum")], length)
    stream.write(b"hello")
    fields = [("X-Sum", stream.query.get("value", "5")), ("Content-Length", "3")]
    stream.end([*fields, ("X-Taken", str(stream.takes_trailers()))])


@handler("/early")
def early(stream):
    """Answers without a look at the body."""
    stream.respond(403, TEXT, b"no\n")


@handler("/status")
def status(stream):
    code = int(stream.query["code"])
    reason = stream.query.get("reason", "")
    stream.respond(code, TEXT, stream.query.get("body", "").encode(), reason)


@handler("/inform")
def inform(stream):
    stream.inform(103, [("Link", "</style.css>; rel=preload")])
    stream.respond(200, TEXT, b"final\n")


@handler("/file")
def file(stream):
    path = stream.query["path"]
    stream.head(200, TEXT, os.stat(path).st_size)
    if not stream.offer_file(path):
        with open(path, "rb") as f:
            stream.write(f.read())
        stream.end()


@handler("/wait-cancel")
def wait_cancel(stream):
    """Notes why nobody wants the answer any more."""
    with open(stream.query["note"] + ".begun", "w"):
        pass
    try:
        while True:
            time.sleep(0.02)
            stream.check()
    finally:
        note(stream, stream.cancel_reason or "the peer is gone")


@handler("/stop")
def stop(stream):
    stream.backend.stop()
    stream.respond(200, TEXT, b"stopping\n")


# Failures.


@handler("/abort")
def abort(stream):
    stream.abort(why="as it was told to")


@handler("/abort-after-head")
def abort_after_head(stream):
    stream.head(200, TEXT, 1000)
    stream.write(b"half")
    time.sleep(0.1)
    stream.abort()


@handler("/raise")
def fail(stream):
    raise RuntimeError("as it was told to")


@handler("/return-once")
def return_once(stream):
    if stream.id not in seen:
        seen.add(stream.id)
        stream.give_back("QUEUE_FULL")
    else:
        stream.respond(200, TEXT, b"at last\n")


@handler("/drop-link")
def drop_link(stream):
    """Every connection breaks once; a second try is answered."""
    if stream.id not in seen:
        seen.add(stream.id)
        stream.backend.must_rebind = True
        time.sleep(0.3)
    stream.respond(200, TEXT, f"flags {stream.flags}\n".encode())


@handler("/die")
def die(stream):
    note(stream, "die")
    os.kill(os.getpid(), signal.SIGKILL)


@handler("/die-after-head")
def die_after_head(stream):
    stream.head(200, TEXT, 1000)
    stream.write(b"half")
    time.sleep(0.1)
    die(stream)


# Misbehaviour that a proxy must survive without taking the link down.


@handler("/late")
def late(stream):
    """The stream has ended, and more comes."""
    stream.respond(200, TEXT, b"first\n")
    stream.send(RESPONSE, 200, "", [], b"second\n")
    stream.send(BODY, b"third")
    stream.send(END, None)
    stream.send(ABORT, "APP_FAILED", "")


@handler("/unknown-stream")
def unknown_stream(stream):
    stray = (stream.number + 1000) % 2**32
    stream.backend.send(stream.peer, [RESPONSE, stray, 200, "", [], b"stray\n"])
    stream.respond(200, TEXT, b"mine\n")


@handler("/old-epoch")
def old_epoch(stream):
    stream.backend.send(stream.peer, [GRANT, stream.peer.epoch - 1, 0])
    stream.respond(200, TEXT, b"mine\n")


@handler("/odd-kind")
def odd_kind(stream):
    stream.backend.send(stream.peer, [201, stream.number, {"more": [1, None, "x"]}])
    stream.respond(200, TEXT, b"mine\n")


@handler("/more-elements")
def more_elements(stream):
    fields = [200, "", pack_headers(TEXT), b"mine\n", "later", {"version": [2]}]
    stream.finish(RESPONSE, *fields)


@handler("/excess")
def excess(stream):
    """More bytes than HEAD said."""
    stream.head(200, TEXT, 5)
    stream.write(b"12345excess")
    stream.end()


@handler("/short")
def short(stream):
    """Fewer bytes than HEAD said, ended as if all were well."""
    stream.head(200, TEXT, 10)
    stream.write(b"12345")
    stream.end()


@handler("/bad-header")
def bad_header(stream):
    name, value = stream.query.get("name", "X-Split"), stream.query["value"]
    stream.respond(200, [(name, value)], b"split\n")


# Misbehaviour that ends the link.


@handler("/even-kind")
def even_kind(stream):
    stream.backend.send(stream.peer, [200, stream.number])
    time.sleep(0.2)


@handler("/garbage")
def garbage(stream):
    stream.backend.send_raw(stream.peer, bytes.fromhex(stream.query["hex"]))
    time.sleep(0.2)


@handler("/three-parts")
def three_parts(stream):
    frame = msgpack.packb([BODY, stream.number, None])
    stream.backend.send_raw(stream.peer, frame, [b"two", b"three"])
    time.sleep(0.2)


@handler("/flood")
def flood(stream):
    """More body than the window allows."""
    stream.head(200, TEXT, None)
    for _ in range(64):
        stream.send(BODY, None, bulk=bytes(65536))
    time.sleep(0.2)


@handler("/body-first")
def body_first(stream):
    stream.send(BODY, b"no head")
    time.sleep(0.2)


@handler("/two-heads")
def two_heads(stream):
    stream.head(200, TEXT, None)
    stream.send(HEAD, 200, "", [], None)
    time.sleep(0.2)


# A WSGI application (PEP 3333).


class BodyReader(io.RawIOBase):
    """wsgi.input"""

    def __init__(self, stream):
        self.stream, self.rest = stream, b""

    def readable(self):
        return True

    def readinto(self, buffer):
        self.rest = self.rest or self.stream.read_piece()
        size = min(len(buffer), len(self.rest))
        buffer[:size], self.rest = self.rest[:size], self.rest[size:]
        return size


def wsgi(name):
    """MODULE:APP as a handler of everything."""
    module, _, attribute = name.partition(":")
    sys.path.insert(0, os.getcwd())
    application = getattr(importlib.import_module(module), attribute or "application")
    return lambda stream: run_wsgi(application, stream)


def run_wsgi(application, stream):
    environ = {
        "REQUEST_METHOD": stream.method,
        "SCRIPT_NAME": urllib.parse.unquote(stream.root, "latin-1"),
        "PATH_INFO": urllib.parse.unquote(stream.rest, "latin-1"),
        "QUERY_STRING": stream.target.partition("?")[2],
        "SERVER_NAME": stream.server[0],
        "SERVER_PORT": str(stream.server[1]),
        "SERVER_PROTOCOL": f"HTTP/1.{stream.minor}",
        "REMOTE_ADDR": stream.client[0],
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": stream.scheme,
        "wsgi.input": io.BufferedReader(BodyReader(stream)),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    for name, value in stream.headers:
        key = name.upper().replace("-", "_")
        key = key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else "HTTP_" + key
        environ[key] = f"{environ[key]},{value}" if key in environ else value
    answer = []

    def start_response(status, headers, exc_info=None):
        answer[:] = [int(status[:3]), headers, status[4:]]
        return lambda data: pieces.append(data)

    pieces = []
    result = application(environ, start_response)
    try:
        has_head = False
        for piece in result:
            if not has_head:
                stream.head(answer[0], answer[1], None, answer[2])
                has_head = True
            stream.write(piece)
        if has_head:
            stream.end()
        else:
            stream.respond(answer[0], answer[1], b"".join(pieces), answer[2])
    finally:
        getattr(result, "close", lambda: None)()
