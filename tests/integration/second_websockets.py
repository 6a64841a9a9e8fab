# SPDX-License-Identifier: MIT
"""What second_backend.py does with WebSockets. A handler accepts, or answers as any other."""

import json
import os
import signal
import time

from second_apps import TEXT, handler, note, pattern
from second_stream import BODY, WS, WS_ACCEPT, WS_BINARY, WS_CLOSE, WS_TEXT, Cancelled, Closed


def told(stream, code, reason):
    note(stream, f"closed {code} {reason}".rstrip())


def until_closed(stream):
    """Notes how it ends."""
    try:
        while True:
            stream.get()
    except Closed as e:
        told(stream, e.code, e.reason)
        raise
    except Cancelled:
        note(stream, f"cancelled {stream.cancel_reason}".rstrip())
        raise


@handler("/ws/echo")
def echo(stream):
    stream.accept()
    try:
        while True:
            stream.put(stream.get())
    except Closed as e:
        told(stream, e.code, e.reason)
        raise
    except Cancelled:
        note(stream, f"cancelled {stream.cancel_reason}".rstrip())
        raise


@handler("/ws/pieces")
def pieces(stream):
    """Every piece as it came, as a text message of its own."""
    stream.accept()
    while True:
        op, data, fin = stream.get_piece()
        if op == WS_CLOSE:
            stream.put(f"close {data} {fin}")
            stream.end()
            return
        stream.put(f"{'text' if op == WS_TEXT else 'binary'} {len(data)} {fin}")


@handler("/ws/inspect")
def inspect(stream):
    stream.accept(stream.query.get("subprotocol", ""), [("X-Room", "7")])
    about = {"flags": stream.flags, "headers": stream.headers, "method": stream.method}
    stream.put(json.dumps(about))
    until_closed(stream)


@handler("/ws/idle")
def idle(stream):
    stream.accept()
    note(stream, "open")
    until_closed(stream)


@handler("/ws/deaf")
def deaf(stream):
    """Reads nothing before it is told to; then counts the bytes."""
    stream.accept()
    note(stream, "open")
    while not os.path.exists(stream.query["until"]):
        stream.check()
        time.sleep(0.01)
    stream.put(str(len(stream.get())))
    until_closed(stream)


@handler("/ws/flood")
def flood(stream):
    """`messages` of `bytes` each; notes when all are sent."""
    stream.accept()
    data = pattern(int(stream.query["bytes"]))
    message = data.decode() if "text" in stream.query else data
    for _ in range(int(stream.query.get("messages", 1))):
        stream.put(message)
    note(stream, "sent")
    until_closed(stream)


@handler("/ws/close")
def close(stream):
    stream.accept()
    if "message" in stream.query:
        stream.put(stream.query["message"])
    stream.close(int(stream.query["code"]), stream.query.get("reason", ""))
    if "end" in stream.query:
        stream.end()
        return
    until_closed(stream)


@handler("/ws/end")
def end(stream):
    stream.accept()
    stream.end()


@handler("/ws/abort")
def abort(stream):
    stream.accept()
    stream.put("half")
    stream.abort(why="as it was told to")


@handler("/ws/refuse")
def refuse(stream):
    if "slow" in stream.query:
        stream.head(403, TEXT, None)
        stream.write(b"not ")
        stream.write(b"you\n")
        stream.end()
    else:
        stream.respond(403, TEXT, b"not you\n")


@handler("/ws/late")
def late(stream):
    """Accepts when it is told to."""
    while not os.path.exists(stream.query["until"]):
        stream.check()
        time.sleep(0.01)
    echo(stream)


@handler("/ws/die")
def die(stream):
    stream.accept()
    stream.get()
    os.kill(os.getpid(), signal.SIGKILL)


@handler("/ws/accept-anyway")
def accept_anyway(stream):
    """WS in answer to a request that is no handshake, or for the second time."""
    stream.send(WS, WS_ACCEPT, "", [])
    stream.send(WS, WS_ACCEPT, "", [])
    time.sleep(0.2)


@handler("/ws/bad-subprotocol")
def bad_subprotocol(stream):
    stream.accept("a, b\r\nX: y")
    until_closed(stream)


@handler("/ws/body")
def body(stream):
    stream.accept()
    stream.send(BODY, b"no HTTP any more")
    time.sleep(0.2)


@handler("/ws/mixed")
def mixed(stream):
    stream.accept()
    stream.put_piece(WS_TEXT, b"one ", False)
    stream.put_piece(WS_BINARY, b"two", True)
    time.sleep(0.2)


@handler("/ws/beyond")
def beyond(stream):
    """More than the window allows."""
    stream.accept()
    for _ in range(64):
        stream.send(WS, WS_BINARY, bytes(32768), True)
    time.sleep(0.2)
