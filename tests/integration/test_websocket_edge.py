# SPDX-License-Identifier: MIT
"""RFC 6455 and 7692 at the edge: the real proxy between clients, by hand and by the library
`websockets`, and an app server written from the specification alone. The tests of frames follow
the numbers of the Autobahn test suite."""

import asyncio
import contextlib
import json
import os
import pathlib
import re
import signal
import socket
import struct
import time
import zlib

import pytest
import websockets
from conftest import until
from test_second_backend import Pair, pattern
from ws_talk import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Closed, WebSocket, frame

MIB = 1 << 20
# AddressSanitizer keeps what was freed for a while.
IS_ASAN = "asan" in os.environ.get("BANYAN_BIN", "") + os.environ.get("BANYAN_PRESET", "")
BOUND_KIB = (40 if IS_ASAN else 8) * 1024
DEFLATE = [("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits")]


class WsPair(Pair):
    """`access` holds the access log."""

    def __init__(self, start, *proxy, backend=(), **more):
        self.access = start.folder / f"access-{len(start.processes)}.log"
        proxy = ("--access-logfile", self.access, "--log-level", "debug", *proxy)
        super().__init__(start, proxy, ("--websocket", "--slots", 16, *backend), **more)

    def socket(self, target="/ws/echo", *words, **more):
        ws = WebSocket(self.address, target, *words, **more)
        assert ws.answer.status == 101, ws.answer
        return ws

    def told(self, ws_target, note):
        """What the application noted down at last."""
        return until(lambda: note.exists() and note.read_text().splitlines(), ws_target)

    def noted(self, target):
        note = self.note()
        return note, f"{target}{'&' if '?' in target else '?'}note={note}"

    def rss_kib(self):
        status = pathlib.Path(f"/proc/{self.proxy.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1])


@pytest.fixture(scope="module")
def pair(start_for_module):
    """For tests that leave everything as it was."""
    made = WsPair(start_for_module, "--websocket-max-message", "1M")
    yield made
    made.expect_alive()
    assert made.proxy.stop() == 0


def lines_of(note):
    return note.read_text().splitlines() if note.exists() else []


def expect_fail(ws, code):
    """The edge fails the connection with this code, and ends it."""
    assert ws.end()[0] == code
    assert not ws.receive()


# ---- handshake ----


def test_handshake(pair):
    with pair.socket("/ws/inspect?subprotocol=chat", protocols=["other", "chat"]) as ws:
        assert ws.answer["Upgrade"] == "websocket"
        assert ws.answer["Connection"].lower() == "upgrade"
        assert ws.answer["Sec-WebSocket-Protocol"] == "chat"
        assert ws.answer["Sec-WebSocket-Extensions"] is None
        assert ws.answer["X-Room"] == "7"
        assert ws.answer["Date"] and ws.answer["Server"] == "banyan"
        assert ws.answer["Content-Length"] is None
        seen = json.loads(ws.get())
        headers = dict(seen["headers"])
        assert (seen["method"], seen["flags"]) == ("GET", 2)
        assert headers["sec-websocket-protocol"] == "other, chat"
        assert headers["sec-websocket-version"] == "13"
        assert len(headers["sec-websocket-key"]) == 24
        assert not {"upgrade", "connection", "sec-websocket-extensions"} & set(headers)
        assert ws.leave() == (1000, "")


def test_a_subprotocol_that_no_client_may_see_is_a_502(pair):
    with WebSocket(pair.address, "/ws/bad-subprotocol") as ws:
        assert ws.answer.status == 502


@pytest.mark.parametrize("how", ["", "?slow"])
def test_90_a_refusal_is_an_ordinary_answer(pair, how):
    with WebSocket(pair.address, "/ws/refuse" + how) as ws:
        assert (ws.answer.status, ws.answer.body) == (403, b"not you\n")
        assert ws.ask("GET", "/hello").body == b"hello\n"


def test_90_what_follows_a_refused_handshake_is_http(pair):
    with WebSocket(pair.address, "/ws/refuse?slow") as ws:
        ws.send(frame(TEXT, b"smuggled"))
        r = ws.response()
        assert (r.status, r["Connection"]) == (400, "close")


def test_90_what_comes_before_the_accept_waits_for_it(pair):
    flag, key = pair.note(), "dGhlIHNhbXBsZSBub25jZQ=="
    with pair.connect() as ws:
        ws.__class__ = WebSocket
        fields = [("Connection", "Upgrade"), ("Upgrade", "websocket")]
        fields += [("Sec-WebSocket-Version", "13"), ("Sec-WebSocket-Key", key)]
        ws.request("GET", f"/ws/late?until={flag}", fields)
        ws.put("early")
        ws.put("too")
        ws.socket.settimeout(0.3)
        with pytest.raises(TimeoutError):
            ws.receive()
        ws.socket.settimeout(20)
        flag.touch()
        assert ws.head().status == 101
        assert (ws.get(), ws.get()) == ("early", "too")


def test_without_the_feature_a_handshake_is_an_ordinary_request(start):
    pair = Pair(start, backend=())
    with WebSocket(pair.address, "/inspect") as ws:
        seen = json.loads(ws.answer.body)
        assert (ws.answer.status, seen["flags"], ws.answer["Upgrade"]) == (200, 0, None)
        assert dict(seen["headers"])["sec-websocket-version"] == "13"
        ws.send(frame(TEXT, b"smuggled"))
        assert ws.response().status == 400


# ---- messages: Autobahn 1, 5, 6, 9 ----


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 128, 65535, 65536, MIB])
def test_1_9_messages_of_any_size(pair, size):
    with pair.socket() as ws:
        for message in pattern(size), pattern(size).decode():
            ws.put(message)
            assert ws.get() == message


def test_1_a_message_byte_by_byte(pair):
    with pair.socket() as ws:
        for byte in frame(TEXT, "κόσμε".encode()):
            ws.send(bytes([byte]))
        assert ws.get() == "κόσμε"


def test_1_many_messages_in_one_piece(pair):
    with pair.socket() as ws:
        ws.send(b"".join(frame(TEXT, b"%d" % i) for i in range(1000)))
        assert [ws.get() for _ in range(1000)] == [str(i) for i in range(1000)]


@pytest.mark.parametrize("op", [TEXT, BINARY])
def test_5_fragments(pair, op):
    with pair.socket() as ws:
        for data in [b"He", b"", b"l"]:
            ws.send_frame(op, data, fin=False)
            ws.send_frame(PING, b"between")
            assert ws.frame()[:2] == (PONG, b"between")
            op = CONTINUATION
        ws.send_frame(CONTINUATION, b"lo")
        assert ws.get() in ("Hello", b"Hello")


def test_5_fragments_go_on_as_they_come(pair):
    """Nothing is assembled at the edge."""
    with pair.socket("/ws/pieces") as ws:
        ws.send_frame(TEXT, b"one", fin=False)
        assert ws.get() == "text 3 False"
        ws.send_frame(CONTINUATION, b"", fin=False)
        ws.send_frame(CONTINUATION, pattern(70000), fin=False)
        sizes = 0
        while sizes < 70000:
            kind, size, fin = ws.get().split()
            assert (kind, fin) == ("text", "False") and int(size) <= 32768
            sizes += int(size)
        ws.send_frame(CONTINUATION)
        assert ws.get() == "text 0 True"


TEXTS = ["", "Hello-µ@ßöäüàá-UTF-8!!", "κόσμε", "\U0001f600" * 3, "\0\ufffe\uffff", "\U0010ffff"]


@pytest.mark.parametrize("fields", [(), DEFLATE], ids=["plain", "deflate"])
def test_6_utf8_passes_however_it_is_cut(pair, fields):
    with pair.socket(fields=fields) as ws:
        for text in TEXTS:
            data = text.encode()
            ws.put(text)
            assert ws.get() == text
            for i in range(len(data) - 1):
                ws.send_frame(TEXT if i == 0 else CONTINUATION, data[i : i + 1], fin=False)
            if data:
                ws.send_frame(CONTINUATION if len(data) > 1 else TEXT, data[-1:])
                assert ws.get() == text


NOT_UTF8 = ["ff", "c0af", "edA080", "f4908080", "c3", "e28228", "f8888080", "80", "61eda080"]


@pytest.mark.parametrize("data", map(bytes.fromhex, NOT_UTF8), ids=NOT_UTF8)
def test_6_what_is_not_utf8_fails_with_1007(pair, data):
    note, target = pair.noted("/ws/echo")
    with pair.socket(target) as ws:
        ws.send_frame(BINARY, data)  # anything may be binary
        assert ws.get() == data
        ws.send_frame(TEXT, "fine ".encode() + data)
        expect_fail(ws, 1007)
    until(lambda: lines_of(note) == ["closed 1007 invalid data"], "the code")


def test_6_bad_utf8_is_noticed_before_the_message_ends(pair):
    with pair.socket() as ws:
        ws.send_frame(TEXT, b"fine ", fin=False)
        ws.send_frame(CONTINUATION, b"\xed\xa0", fin=False)
        expect_fail(ws, 1007)


# ---- control frames and rules: Autobahn 2, 3, 4, 5, 7 ----


def test_2_pings_are_answered(pair):
    with pair.socket() as ws:
        for data in b"", b"Hello", bytes(range(125)):
            ws.send_frame(PING, data)
            assert ws.frame()[:2] == (PONG, data)
        ws.send_frame(PONG, b"unasked")
        ws.send(b"".join(frame(PING, b"%d" % i) for i in range(10)))
        assert [ws.frame().data for _ in range(10)] == [b"%d" % i for i in range(10)]


BROKEN = {
    "2.5 a ping of 126": frame(PING, bytes(126)),
    "3 rsv 1": frame(TEXT, b"a", rsv=4),
    "3 rsv 2": frame(TEXT, b"a", rsv=2),
    "3 rsv 3": frame(BINARY, b"a", rsv=1),
    "3 rsv of a ping": frame(PING, b"a", rsv=7),
    "3 rsv of a close": frame(CLOSE, b"", rsv=1),
    **{f"4 opcode {op}": frame(op, b"") for op in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)},
    "5.1 a ping in fragments": frame(PING, b"a", fin=False),
    "5.9 a continuation of nothing": frame(CONTINUATION, b"a"),
    "5.10 a fragment of nothing": frame(CONTINUATION, b"a", fin=False),
    "5.18 a text in a text": frame(TEXT, b"a", fin=False) + frame(TEXT, b"b"),
    "5.1 unmasked": frame(TEXT, b"a", mask=False),
    "5.2 a length not in its shortest form": b"\x82\xfe\x00\x05" + bytes(9),
    "5.2 64 bits for less": b"\x82\xff" + struct.pack("!Q", 65535) + bytes(4),
    "5.2 the highest bit": b"\x82\xff" + struct.pack("!Q", 1 << 63) + bytes(4),
    "7.3.2 a close of one byte": frame(CLOSE, b"\x03"),
    "7.3.6 a close of 126": frame(CLOSE, b"\x03\xe8" + bytes(124)),
    **{
        f"7.9 code {code}": frame(CLOSE, struct.pack("!H", code))
        for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)
    },
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_2_to_7_broken_rules_fail_with_1002(pair, data):
    note, target = pair.noted("/ws/idle")
    with pair.socket(target) as ws:
        ws.send(data)
        expect_fail(ws, 1002)
    until(lambda: lines_of(note)[1:] == ["closed 1002 protocol error"], "the code")


def test_4_what_precedes_a_broken_rule_is_still_delivered(pair):
    with pair.socket() as ws:
        ws.put("fine")
        assert ws.get() == "fine"
        ws.send(frame(TEXT, b"also fine") + frame(3) + frame(PING, b"never answered"))
        with contextlib.suppress(Closed):
            assert ws.get() == "also fine"
            ws.get()
        assert b"never answered" not in ws.buffer


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1011, 1014, 3000, 3999, 4000, 4999])
def test_7_codes_of_the_client(pair, code):
    note, target = pair.noted("/ws/idle")
    with pair.socket(target) as ws:
        assert ws.leave(code, "wörd") == (code, "")
        assert not ws.receive()
    until(lambda: lines_of(note)[1:] == [f"closed {code} wörd"], "the code")


def test_7_a_close_without_a_code(pair):
    note, target = pair.noted("/ws/idle")
    with pair.socket(target) as ws:
        assert ws.leave(0) == (1005, "")
    until(lambda: lines_of(note)[1:] == ["closed 0"], "the code")


def test_7_a_reason_that_is_not_utf8(pair):
    with pair.socket() as ws:
        ws.send_frame(CLOSE, b"\x03\xe8\xce\xba\xff")
        expect_fail(ws, 1007)


def test_7_nothing_is_heard_after_a_close(pair):
    with pair.socket("/ws/pieces") as ws:
        ws.send(frame(CLOSE, b"\x03\xe8") + frame(TEXT, b"late") + frame(PING, b"late"))
        assert ws.end() == (1000, "")


@pytest.mark.parametrize("code, seen", [(1000, 1000), (1008, 1008), (4321, 4321), (0, 1005)])
def test_codes_of_the_application(pair, code, seen):
    note, target = pair.noted(f"/ws/close?code={code}&reason=gr%C3%BCnde&message=first")
    with pair.socket(target) as ws:
        assert ws.get() == "first"
        ws.put("crossing")
        with pytest.raises(Closed) as closed:
            ws.get()
        reason = "gründe" if code else ""
        assert (closed.value.code, closed.value.reason) == (seen, reason)
        ws.send_frame(CLOSE, struct.pack("!H", 1000))
        assert not ws.receive()
    until(lambda: lines_of(note) == ["closed 1000"], "the client's close")


def test_an_application_s_code_that_no_client_may_see(pair):
    with pair.socket("/ws/close?code=1005") as ws:
        assert ws.end() == (1011, "")


def test_an_application_that_ends(pair):
    with pair.socket("/ws/end") as ws:
        assert ws.end()[0] == 1000
    with pair.socket("/ws/close?code=4000&end") as ws:
        assert ws.end()[0] == 4000
        ws.send_frame(CLOSE, struct.pack("!H", 4000))
        assert not ws.receive()
    with pair.socket("/ws/abort") as ws:
        assert ws.get() == "half"
        assert ws.end()[0] == 1011


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_client_that_vanishes_is_a_cancel(pair, how):
    note, target = pair.noted("/ws/idle")
    ws = pair.socket(target)
    if how == "reset":
        linger = struct.pack("ii", 1, 0)
        ws.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    ws.put("something")
    ws.close()
    until(lambda: lines_of(note)[1:] == ["cancelled CLIENT_GONE"], "the cancel")


# ---- limits and compression: Autobahn 9, 12, 13; RFC 7692 ----


def test_a_message_beyond_the_limit_fails_with_1009(pair):
    with pair.socket() as ws:
        ws.put(bytes(MIB))
        assert len(ws.get()) == MIB
        ws.send(frame(BINARY, bytes(MIB + 1))[:100])  # known by its head
        expect_fail(ws, 1009)
    with pair.socket() as ws:
        ws.send_frame(BINARY, bytes(MIB), fin=False)
        ws.send_frame(CONTINUATION, b"1", fin=False)
        expect_fail(ws, 1009)


def deflated(data, tail=b""):
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return (packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4] + tail


def inflated(data):
    return zlib.decompressobj(-15).decompress(data + b"\0\0\xff\xff")


def test_12_offers(pair):
    taken = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
    for offer, answer in [
        ("permessage-deflate", taken),
        ("permessage-deflate; client_max_window_bits=9", taken),
        ("permessage-deflate; server_max_window_bits=10", taken + "; server_max_window_bits=10"),
        ("permessage-deflate; server_max_window_bits=7, permessage-deflate", taken),
        ("permessage-deflate; server_max_window_bits=16", None),
        ("permessage-deflate; unknown", None),
        ("x-webkit-deflate-frame", None),
    ]:
        with pair.socket(fields=[("Sec-WebSocket-Extensions", offer)]) as ws:
            assert ws.answer["Sec-WebSocket-Extensions"] == answer
            ws.put("x" * 1000)
            got = ws.frame()
            assert got.rsv == (4 if answer else 0)
            assert (inflated(got.data) if answer else got.data) == b"x" * 1000


def test_12_the_second_field_may_hold_the_offer(pair):
    fields = [("Sec-WebSocket-Extensions", "x-unknown"), *DEFLATE]
    with pair.socket(fields=fields) as ws:
        assert ws.answer["Sec-WebSocket-Extensions"].startswith("permessage-deflate")


@pytest.mark.parametrize("bits", [9, 10, 12, 15])
def test_13_the_window_the_client_asked_for_is_kept(pair, bits):
    offer = f"permessage-deflate; server_max_window_bits={bits}"
    message = os.urandom(2000) * 10  # repeats at a distance that small windows do not see
    with pair.socket(fields=[("Sec-WebSocket-Extensions", offer)]) as ws:
        ws.put(message)
        whole = b""
        while True:
            got = ws.frame()
            whole += got.data
            if got.fin:
                break
        if whole != message:
            small = zlib.decompressobj(-bits)
            assert small.decompress(whole + b"\0\0\xff\xff") == message


def test_12_compressed_messages_in_fragments(pair):
    with pair.socket(fields=DEFLATE) as ws:
        for size in 0, 10, 100, 65536, 300000:
            data, at = deflated(pattern(size)), 0
            step = max(1, len(data) // 7)
            while at < len(data):
                is_last = at + step >= len(data)
                piece = data[at : at + step]
                if at == 0:
                    ws.send_frame(BINARY, piece, fin=is_last, rsv=4)
                else:
                    ws.send_frame(CONTINUATION, piece, fin=is_last)
                ws.send_frame(PONG, b"between")
                at += step
            first = ws.frame()
            whole, got = first.data, first
            while not got.fin:
                got = ws.frame()
                assert got.rsv == 0
                whole += got.data
            assert (inflated(whole) if first.rsv else whole) == pattern(size)


def test_12_a_final_block_does_not_end_the_message(pair):
    with pair.socket(fields=DEFLATE) as ws:
        ws.send_frame(TEXT, bytes.fromhex("f348cdc9c9070000"), rsv=4)
        assert ws.get() == "Hello"


def test_short_messages_are_not_compressed(pair):
    with pair.socket(fields=DEFLATE) as ws:
        ws.put("x" * 64)
        assert ws.frame() == (TEXT, b"x" * 64, True, 0)
        ws.put(os.urandom(1000))  # would get longer
        assert ws.frame().rsv == 0


def test_a_bomb_is_stopped_at_the_limit(pair):
    before = pair.rss_kib()
    with pair.socket(fields=DEFLATE) as ws:
        ws.send_frame(BINARY, deflated(bytes(200 * MIB)), rsv=4)
        expect_fail(ws, 1009)
    assert pair.rss_kib() - before < BOUND_KIB


@pytest.mark.parametrize("data", [b"\x07", b"Hello", deflated(pattern(100))[:-3]])
def test_what_is_not_deflate_fails_with_1007(pair, data):
    with pair.socket(fields=DEFLATE) as ws:
        ws.send_frame(TEXT, data, rsv=4)
        expect_fail(ws, 1007)


def test_a_compressed_text_is_checked_too(pair):
    with pair.socket(fields=DEFLATE) as ws:
        ws.send_frame(TEXT, deflated(b"\xff"), rsv=4)
        expect_fail(ws, 1007)


def test_rsv_1_of_a_continuation(pair):
    with pair.socket(fields=DEFLATE) as ws:
        ws.send_frame(TEXT, deflated(b"a"), fin=False, rsv=4)
        ws.send_frame(CONTINUATION, b"", rsv=4)
        expect_fail(ws, 1002)


def test_compression_can_be_turned_off(start):
    pair = WsPair(start, "--no-websocket-compression")
    with pair.socket(fields=DEFLATE) as ws:
        assert ws.answer["Sec-WebSocket-Extensions"] is None
        ws.send_frame(TEXT, deflated(b"a"), rsv=4)
        expect_fail(ws, 1002)


@pytest.mark.parametrize("compression", [None, "deflate"])
def test_the_library_websockets(pair, compression):
    async def talk():
        url = "ws://%s:%d/ws/echo" % pair.address
        options = {"compression": compression, "max_size": None, "close_timeout": 20}
        async with websockets.connect(url, **options) as ws:
            messages = ["hello", "", "grüße" * 1000, b"", pattern(MIB), os.urandom(300000)]
            for message in messages:
                await ws.send(message)
                assert await ws.recv() == message
            await ws.send([f"piece {i} " for i in range(100)])
            assert len(await ws.recv()) == 890
            await asyncio.wait_for(await ws.ping(), 20)
            began = time.monotonic()
            await ws.close(4000, "done")
            assert time.monotonic() - began < 4, "the edge closes without being waited for"
            assert ws.close_code == 4000

    asyncio.run(asyncio.wait_for(talk(), 60))


def test_many_at_once(pair):
    """Contexts of compression are shared: messages of several clients do not mix."""

    async def one(number):
        url = "ws://%s:%d/ws/echo" % pair.address
        async with websockets.connect(url, max_size=None) as ws:
            for i in range(20):
                message = f"{number} {i} " * (1 + 1000 * (i % 3))
                await ws.send([message[:5], message[5:]])
                assert await ws.recv() == message

    async def all_of_them():
        await asyncio.gather(*(one(n) for n in range(10)))

    asyncio.run(asyncio.wait_for(all_of_them(), 60))


# ---- back-pressure ----


def test_an_application_that_does_not_read_stops_the_client(pair):
    flag = pair.note()
    note, target = pair.noted(f"/ws/deaf?until={flag}")
    with pair.socket(target) as ws:
        pair.told("open", note)
        before = pair.rss_kib()
        data, sent = frame(BINARY, pattern(MIB)), 0
        ws.socket.settimeout(1)
        with contextlib.suppress(TimeoutError):
            for _ in range(64):  # some of it fits into sockets and windows
                n = ws.socket.send(data[sent % len(data) :])
                sent += n
        for _ in range(200):
            try:
                sent += ws.socket.send(data[sent % len(data) :])
            except TimeoutError:
                break
        assert sent < 60 * MIB, "nobody took all that"
        assert pair.rss_kib() - before < BOUND_KIB
        flag.touch()
        ws.socket.settimeout(20)
        if sent % len(data):
            ws.send(data[sent % len(data) :])
        assert ws.get() == str(MIB)


def test_a_client_that_does_not_read_stops_the_application(pair):
    note, target = pair.noted("/ws/flood?bytes=1000000&messages=80")
    before = pair.rss_kib()
    with pair.socket(target, receive_buffer=65536) as ws:
        time.sleep(1)
        assert lines_of(note) == []
        assert pair.rss_kib() - before < BOUND_KIB
        for _ in range(80):
            assert len(ws.get()) == 1000000
        assert pair.told("sent", note) == ["sent"]
        assert ws.leave()[0] == 1000


def test_a_client_that_reads_nothing_for_ever_is_dropped(start):
    pair = WsPair(start, "--write-timeout", "0.5")
    note, target = pair.noted("/ws/flood?bytes=1000000&messages=100")
    with pair.socket(target, receive_buffer=65536):
        until(lambda: pair.access.read_text().count(" 101 "), "the end")


# ---- time ----


def test_a_silent_client_is_pinged_and_dropped(start):
    options = ["--websocket-ping-interval", "0.2", "--websocket-ping-timeout", "2"]
    pair = WsPair(start, *options)
    note, target = pair.noted("/ws/idle")
    with pair.socket(target) as ws:
        for _ in range(3):
            assert ws.frame()[:2] == (PING, b"")
            ws.send_frame(PONG)
        assert ws.frame()[:2] == (PING, b"")
        assert ws.end() == (1011, "ping timeout")
        assert not ws.receive()
    until(lambda: lines_of(note)[1:] == ["cancelled CLIENT_GONE"], "the cancel")


def test_without_an_interval_nobody_is_pinged(start):
    options = ["--keepalive-timeout", "2", "--request-timeout", "2", "--header-timeout", "2"]
    pair = WsPair(start, "--websocket-ping-interval", "0", *options)
    with pair.socket() as ws:
        ws.socket.settimeout(4)
        with pytest.raises(TimeoutError):
            ws.receive()
        ws.socket.settimeout(20)
        ws.put("still there")
        assert ws.get() == "still there"


def test_a_client_that_does_not_answer_a_close_is_dropped(start):
    pair = WsPair(start, "--websocket-close-timeout", "0.3")
    note, target = pair.noted("/ws/close?code=1000")
    with pair.socket(target) as ws:
        assert ws.end() == (1000, "")
        assert not ws.receive()
    until(lambda: lines_of(note) == ["cancelled CLIENT_GONE"], "the cancel")


# ---- app servers that fail, proxies that stop ----


def test_a_backend_that_dies_is_a_1012(start):
    pair = WsPair(start)
    idle = pair.socket("/ws/idle")
    with idle, pair.socket("/ws/die") as ws:
        ws.put("now")
        assert ws.end() == (1012, "service restart")
        assert idle.end()[0] == 1012
    pair.restart_backend()
    until(lambda: pair.ask("/hello").status == 200, "the next one")
    with pair.socket() as ws:
        ws.put("again")
        assert ws.get() == "again"


@pytest.mark.parametrize("what", ["body", "mixed", "beyond"])
def test_a_backend_that_breaks_the_protocol(start, what):
    pair = WsPair(start)
    with pair.socket(f"/ws/{what}") as ws:
        assert ws.end()[0] == 1011
    until(lambda: pair.ask("/hello").status == 200, "another link")


def test_an_accept_of_what_is_no_handshake(start):
    pair = WsPair(start)
    assert pair.ask("/ws/accept-anyway").status == 502
    until(lambda: pair.ask("/hello").status == 200, "another link")
    with pair.socket("/ws/accept-anyway") as ws:
        assert ws.end()[0] == 1011


def test_a_proxy_that_stops_says_1001(start):
    pair = WsPair(start, "--graceful-timeout", "20")
    note, target = pair.noted("/ws/idle")
    sockets = [pair.socket(target) for _ in range(3)]
    until(lambda: lines_of(note) == ["open"] * 3, "three of them")
    pair.proxy.signal(signal.SIGTERM)
    for ws in sockets:
        with ws:
            assert ws.end() == (1001, "shutting down")
            ws.send_frame(CLOSE, struct.pack("!H", 1001))
            assert not ws.receive()
    assert pair.proxy.wait() == 0
    until(lambda: lines_of(note)[3:] == ["closed 1001 shutting down"] * 3, "the codes")


# ---- what is written down ----


def test_the_access_log_has_a_line_at_the_end(start):
    pair = WsPair(start)
    with pair.socket("/ws/echo?log") as ws:
        ws.put("x" * 1000)
        assert len(ws.get()) == 1000
        assert not pair.access.exists() or pair.access.read_text() == ""
        ws.leave()
    line = until(lambda: pair.access.exists() and pair.access.read_text(), "the line")
    match = re.search(r'"GET /ws/echo\?log HTTP/1.1" 101 (\d+) .* rt=(\S+) .* rx=(\d+)', line)
    assert match, line
    assert 1000 < int(match[1]) < 1020 and 1000 < int(match[3]) < 1030
    pair.proxy.stop()
    assert "1 messages of WebSocket clients" in pair.proxy.log()
    assert "1 messages to WebSocket clients" in pair.proxy.log()
    assert "1 WebSockets accepted" in pair.proxy.log()


def test_idle_ones_cost_little(start):
    # The second app server runs a thread for each: a few hundred are enough to measure.
    pair = WsPair(start, backend=["--slots", "300"])
    first = [pair.socket("/ws/idle") for _ in range(20)]
    before = pair.rss_kib()
    more = [pair.socket("/ws/idle") for _ in range(250)]
    each = (pair.rss_kib() - before) / len(more)
    for ws in first + more:
        ws.close()
    assert IS_ASAN or each < 4, f"{each} KiB"
