# SPDX-License-Identifier: MIT
"""How a connection lives: in what order it is answered, what happens while a body is on
its way, what an upgrade is, how an answer that cannot be sent ends it. The numbers are
rows of tests/cases/http. Single requests are in test_http_cases.py, timeouts and limits
in test_http_limits.py, what an application may do in test_wsgi.py."""

import hashlib
import json
import random
import re
import signal
import socket
import threading
import time
from urllib.parse import quote

import pytest
from conftest import HERE, Site, chunked
from http_talk import (
    EXPECT,
    GET,
    HELLO,
    ONE_THREAD,
    Clock,
    assert_silent,
    assert_usable,
    connect,
    end_of,
    get,
    journal_of,
    leave_by_reset,
    leave_by_shutdown,
    post,
    steps,
)


@pytest.fixture(scope="module")
def site(sites):
    return sites("--threads", "4")


# ---- several requests of one connection ----


def test_27_answers_come_in_order_however_long_each_takes(site):
    words = [["sleep,0.3"], [], ["sleep,0.1"], []]
    with connect(site) as connection:
        for n, word in enumerate(words):
            body = b"%d" % n
            head = post(steps(*word, "read"), "Content-Length: 1")
            connection.send(head + body)
        assert [connection.response().body for _ in words] == [b"0", b"1", b"2", b"3"]
        assert_usable(connection)


def test_28_200_requests_in_one_piece_are_all_answered_in_order(site):
    requests = [
        post(steps("read"), "Content-Length: 3") + b"%03d" % n for n in range(200)
    ]
    with connect(site) as connection:
        connection.send(b"".join(requests))
        assert [int(connection.response().body) for _ in requests] == list(range(200))
        assert_usable(connection)


def test_28_what_is_sent_ahead_waits_in_the_socket(site):
    """The edge keeps --max-pipeline of it; then the client cannot send on."""
    padding = "X-Padding: " + "x" * 7000
    request = get("/hello", padding)
    with connect(site) as connection:
        connection.send(get(steps("sleep,0.5", "send,1")))
        connection.socket.setblocking(False)
        sent = 0
        with pytest.raises(BlockingIOError):
            while sent < 64 << 20:
                sent += connection.socket.send(request[sent % len(request) :])
        connection.socket.settimeout(10)
        assert peak_mib(site.proxy()) < 64
        assert connection.response().body == b"x"
        whole = sent // len(request)
        for n in range(whole):
            assert connection.response().body == HELLO
            if n == 0:
                connection.send(request[sent % len(request) :])
        if sent % len(request):
            assert connection.response().body == HELLO
        assert_usable(connection)


def peak_mib(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return (
            next(int(line.split()[1]) for line in f if line.startswith("VmHWM")) / 1024
        )


def test_what_follows_connection_close_is_no_request(sites):
    site = sites(*ONE_THREAD)
    with connect(site) as connection:
        connection.send(get("/echo/1", "Connection: close") + get("/echo/2"))
        assert json.loads(connection.response().body)["target"] == "/echo/1"
        assert connection.is_closed()
    assert [r["target"] for r in journal_of(site)] == ["/echo/1"]


def test_who_shuts_down_its_side_still_gets_its_answers(site):
    with connect(site) as connection:
        connection.send(get(steps("sleep,0.2", "send,3")) + GET)
        connection.socket.shutdown(socket.SHUT_WR)
        assert connection.response().body == b"xxx"
        assert connection.response().body == HELLO
        assert connection.is_closed()


# ---- bodies as they come ----


def random_body(rng):
    sizes = [0, 1, 10, 1000, 32_768, 32_769, 65_536, 70_000, 200_000, 600_000]
    return rng.randbytes(rng.choice(sizes))


def random_request(rng, number):
    """A request as bytes, and what apps/echo.py must see of it."""
    body = random_body(rng)
    lines = [f"X-{n}: {'y' * rng.choice([1, 3000])}" for n in range(rng.choice([0, 5]))]
    if rng.random() < 0.15:
        lines.append(EXPECT)
    if rng.random() < 0.5:
        lines.append(f"Content-Length: {len(body)}")
        data = body
    else:
        lines.append("Transfer-Encoding: chunked")
        size = rng.choice([100, 16_384, 65_536, 300_000])
        data = chunked(*[body[at : at + size] for at in range(0, len(body), size)])
    target = f"/echo/{number}"
    seen = (target, len(body), hashlib.sha256(body).hexdigest())
    return get(target, *lines, method=rng.choice(["POST", "GET", "X"])) + data, seen


def send_in_pieces(connection, data, rng):
    at = 0
    while at < len(data):
        size = rng.choice([1, 5, 100, 5000, 70_000, 500_000])
        connection.send(data[at : at + size])
        at += size
        if rng.random() < 0.05:
            time.sleep(0.003)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("gathered", ["1G", "10000", "0"])
def test_long_conversations_stay_in_step(sites, gathered, seed):
    """Bodies of all sizes and framings in pieces of all sizes, pipelined; gathered in
    memory and in files, streamed, or first the one, then the other."""
    site = sites("--threads", "4", "--request-buffer", gathered)
    rng = random.Random(seed)
    requests = [random_request(rng, number) for number in range(60)]
    data = b"".join(request for request, _ in requests)
    with connect(site) as connection:
        sender = threading.Thread(target=send_in_pieces, args=(connection, data, rng))
        sender.start()
        for _, seen in requests:
            answer = connection.response()
            assert answer.status == 200
            record = json.loads(answer.body)
            assert (record["target"], record["length"], record["digest"]) == seen
        sender.join()
        assert_usable(connection)


# ---- bodies that do not come to their end ----

HALF_BODIES = {
    "length": b"Content-Length: 100000\r\n\r\n" + b"x" * 50000,
    "chunk": b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % 100000 + b"x" * 50000,
    "no-last-chunk": b"Transfer-Encoding: chunked\r\n\r\n" + chunked(b"x" * 50000)[:-5],
    "half-last-chunk": b"Transfer-Encoding: chunked\r\n\r\n"
    + chunked(b"x" * 50000)[:-2],
}


@pytest.mark.parametrize(
    "leave", [leave_by_reset, leave_by_shutdown], ids=["reset", "end"]
)
@pytest.mark.parametrize("body", HALF_BODIES)
def test_22_38_half_a_body_never_reaches_the_application(sites, body, leave):
    site = sites(*ONE_THREAD)
    with connect(site) as connection:
        connection.send(b"POST /echo HTTP/1.1\r\nHost: a\r\n" + HALF_BODIES[body])
        leave(connection)
    assert journal_of(site) == []


@pytest.mark.parametrize(
    "leave", [leave_by_reset, leave_by_shutdown], ids=["reset", "end"]
)
@pytest.mark.parametrize("body", HALF_BODIES)
def test_22_38_half_a_streamed_body_is_never_a_whole_one(sites, body, leave):
    site = sites(*ONE_THREAD, "--request-buffer", "0")
    with connect(site) as connection:
        connection.send(b"POST /echo HTTP/1.1\r\nHost: a\r\n" + HALF_BODIES[body])
        leave(connection)
    assert [r["complete"] for r in journal_of(site)] in ([False], [])
    assert_usable(connect(site))


# ---- 100 Continue, and answers that do not wait for the body ----


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_60_continue_comes_when_the_application_reads(site, framing):
    line = "Content-Length: 5" if framing == "length" else "Transfer-Encoding: chunked"
    target = steps("sleep,0.3", "read")
    with connect(site) as connection, Clock() as clock:
        connection.send(post(target, EXPECT, line))
        assert_silent(connection, 0.2)
        assert connection.head().status == 100
        assert clock.passed() >= 0.3
        connection.send(b"hello" if framing == "length" else chunked(b"he", b"llo"))
        answer = connection.response()
        assert (answer.body, answer.informs, answer["Connection"]) == (
            b"hello",
            [],
            None,
        )
        assert_usable(connection)


def test_60_who_does_not_wait_is_not_told_to_continue(site):
    with connect(site) as connection:
        head = post(steps("sleep,0.2", "read"), EXPECT, "Content-Length: 5")
        connection.send(head + b"hello")
        answer = connection.response()
        assert (answer.body, answer.informs) == (b"hello", [])
        assert_usable(connection)


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_60_63_a_body_that_nobody_reads_is_not_asked_for(site, version):
    with connect(site) as connection:
        lines = [EXPECT, "Content-Length: 5", "Connection: keep-alive"]
        connection.send(post("/hello", *lines, version=version))
        if version == "1.0":  # HTTP/1.0 has no Expect: the client sends at once
            connection.send(b"hello")
        answer = connection.response()
        assert (answer.body, answer.informs) == (HELLO, [])
        if version == "1.1":  # who can tell whether the body still comes?
            assert answer["Connection"] == "close"
            assert connection.is_closed()


def test_61_http_1_0_is_never_told_to_continue(site):
    with connect(site) as connection:
        head = post(steps("read"), EXPECT, "Content-Length: 5", version="1.0")
        connection.send(head)
        assert_silent(connection, 0.2)
        connection.send(b"hello")
        answer = connection.response()
        assert (answer.body, answer.informs) == (b"hello", [])


def test_62_another_expectation_is_417_at_once(site):
    with connect(site) as connection:
        connection.send(post("/hello", "Expect: more", "Content-Length: 5"))
        answer = connection.response()
        assert (answer.status, answer["Connection"]) == (417, "close")
        assert connection.is_closed()


@pytest.mark.parametrize("lines", [[], [EXPECT]], ids=["", "expect"])
def test_63_an_early_answer_survives_a_client_that_sends_on(sites, lines):
    """A reset would take the answer along: the edge reads on for a while."""
    site = sites(*ONE_THREAD, "--request-buffer", "0")
    size = 3_000_000
    with connect(site) as connection:
        connection.send(post("/hello", f"Content-Length: {size}", *lines))
        for _ in range(30):
            connection.send(b"x" * (size // 30))
            time.sleep(0.005)
        connection.socket.shutdown(socket.SHUT_WR)
        answer = connection.response()
        assert (answer.status, answer.body) == (200, HELLO)
        assert end_of(connection) == "closed"


def test_63_an_early_answer_is_read_while_the_body_is_on_its_way(sites):
    site = sites(*ONE_THREAD, "--request-buffer", "0")
    with connect(site) as connection:
        connection.send(post(steps("read,10"), "Content-Length: 1000000"))
        connection.send(b"0123456789")
        answer = connection.response()
        assert (answer.body, answer["Connection"]) == (b"0123456789", "close")
        assert connection.is_closed()


# ---- upgrades ----

HANDSHAKE = [
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
]
TEXT_FRAME = b"\x81\x85\x01\x02\x03\x04ignom"  # masked


def test_87_a_handshake_is_a_request_that_the_application_may_answer(site):
    with connect(site) as connection:
        connection.send(get("/echo", *HANDSHAKE))
        seen = json.loads(connection.response().body)["headers"]
        assert seen["HTTP_SEC_WEBSOCKET_KEY"] == "dGhlIHNhbXBsZSBub25jZQ=="
        assert "HTTP_UPGRADE" not in seen and "HTTP_CONNECTION" not in seen
        assert_usable(connection)


def test_90_frames_behind_a_refused_handshake_are_bad_http(sites):
    site = sites(*ONE_THREAD)
    with connect(site) as connection:
        connection.send(get("/echo", *HANDSHAKE) + TEXT_FRAME + GET)
        assert connection.response().status == 200
        answer = connection.response()
        assert (answer.status, answer["Connection"]) == (400, "close")
        assert connection.is_closed()
    assert len(journal_of(site)) == 1


@pytest.mark.parametrize(
    "lines",
    [
        HANDSHAKE[:1] + HANDSHAKE[2:],
        [
            "Upgrade: h2c",
            "Connection: Upgrade, HTTP2-Settings",
            "HTTP2-Settings: AAMAAABk",
        ],
        ["Upgrade: TLS/1.0", "Connection: Upgrade"],
        ["Connection: Upgrade"],
    ],
    ids=["without-connection", "h2c", "tls", "without-upgrade"],
)
def test_85_92_other_upgrades_stay_http(site, lines):
    with connect(site) as connection:
        connection.send(get("/echo", *lines))
        answer = connection.response()
        assert (answer.status, answer["Upgrade"]) == (200, None)
        assert "HTTP_UPGRADE" not in json.loads(answer.body)["headers"]
        assert_usable(connection)


def test_88_another_version_is_told_the_right_one(site):
    with connect(site) as connection:
        connection.send(
            get("/hello", *HANDSHAKE[:2], "Sec-WebSocket-Version: 8", HANDSHAKE[3])
        )
        answer = connection.response()
        assert (answer.status, answer["Sec-WebSocket-Version"]) == (426, "13")
        assert answer["Upgrade"] == "websocket"
        assert connection.is_closed()


def test_91_an_upgrade_with_an_expectation_and_no_body_is_just_answered(site):
    with connect(site) as connection:
        connection.send(get("/hello", *HANDSHAKE, EXPECT))
        answer = connection.response()
        assert (answer.status, answer.informs) == (200, [])
        assert_usable(connection)


def test_a_wsgi_application_cannot_switch_protocols(site):
    with connect(site) as connection:
        connection.send(get("/evil?" + quote("101 Switching Protocols||"), *HANDSHAKE))
        assert connection.response().status == 500
        assert_usable(connection)


# ---- answers that no client may see ----


@pytest.mark.parametrize(
    "what",
    [
        "200 OK|X-A|1\r\nX-Evil: 1",
        "200 OK|X-A|a\0b",
        "200 OK|X A|1",
        "200 O\r\nX-Evil: 1||",
        "42 Odd||",
        "200 OK|Content-Length|5x",
        "200 OK|Content-Length|-1",
    ],
)
def test_107_112_a_forbidden_head_is_a_clean_error_and_logged(site, what):
    with connect(site) as connection:
        answer = connection.ask("GET", "/evil?" + quote(what))
        assert (answer.status, answer.is_cut, answer["X-Evil"]) == (500, False, None)
        assert b"accepted" not in answer.body
        assert_usable(connection)
    site.wait_log("/evil")


def test_108_111_framing_and_connection_are_the_edges(site):
    with connect(site) as connection:
        connection.send(get("/hop_by_hop", version="1.0"))
        answer = connection.response()
        assert (answer.status, answer.body, answer["X-A"]) == (200, b"body", "b")
        assert answer["Transfer-Encoding"] is None and connection.is_closed()


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("size", [10, 300_000])
def test_109_a_short_body_is_never_a_whole_one(site, version, size):
    with connect(site) as connection:
        target = steps(f"head,{size}", f"send,{size - 1}")
        connection.send(get(target, "Connection: keep-alive", version=version))
        answer = connection.response()
        assert (answer.status, len(answer.body), answer.is_cut) == (200, size - 1, True)
        assert connection.is_closed()


@pytest.mark.parametrize("size", [10, 300_000])
def test_109_what_is_too_long_is_cut_and_the_connection_goes_on(site, size):
    with connect(site) as connection:
        answer = connection.ask(
            "GET", steps(f"head,{size}", f"send,{size}", f"send,{size}")
        )
        assert (answer.status, len(answer.body), answer.is_cut) == (200, size, False)
        assert_usable(connection)


@pytest.mark.parametrize("words", [["head,70000", "send,70000"], ["send,70000"]])
def test_110_head_has_no_body_and_leaves_the_connection_in_step(site, words):
    with connect(site) as connection:
        answer = connection.ask("HEAD", steps(*words))
        assert (answer.status, answer.body) == (200, b"")
        assert_usable(connection)


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_110_no_body_behind_204_and_304(site, status):
    target = "/answer?" + quote(f"{status}||a,b,c|stream")
    with connect(site) as connection:
        answer = connection.ask("GET", target)
        assert (answer.status, answer["Transfer-Encoding"]) == (int(status[:3]), None)
        assert_usable(connection)


def test_113_http_1_0_gets_no_interim_answers(site):
    for version, informs in [("1.0", []), ("1.1", [103])]:
        with connect(site) as connection:
            connection.send(get("/hints", version=version))
            answer = connection.response()
            assert answer.body == b"hinted"
            assert [inform.status for inform in answer.informs] == informs


def test_114_a_body_that_only_the_end_delimits_breaks_off_with_a_reset(site):
    with connect(site) as connection:
        connection.send(get("/mid_stream", version="1.0"))
        assert end_of(connection) == "reset"
        assert (
            b"200 OK" in connection.buffer
            and b"Content-Length" not in connection.buffer
        )


def test_114_a_chunked_body_breaks_off_without_its_last_chunk(site):
    with connect(site) as connection:
        connection.send(get("/mid_stream"))
        assert end_of(connection) == "closed"
        assert connection.buffer.endswith(b"\r\n\r\n5\r\nfirst\r\n")


# ---- how a connection ends ----


@pytest.mark.parametrize(
    "version, line, said",
    [
        ("1.0", None, "close"),
        ("1.0", "Connection: keep-alive", "keep-alive"),
        ("1.0", "Connection: keep-alive, close", "close"),
        ("1.1", None, None),
        ("1.1", "Connection: close", "close"),
        ("1.1", "Connection: TE, CLOSE", "close"),
    ],
)
def test_117_close_and_keep_alive_are_honoured_and_every_answer_has_a_date(
    site, version, line, said
):
    with connect(site) as connection:
        connection.send(
            get(
                "/answer?" + quote("200 OK|5|hello|list"),
                *filter(None, [line]),
                version=version,
            )
        )
        answer = connection.response()
        assert (answer.body, answer["Connection"]) == (b"hello", said)
        assert re.fullmatch(
            r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", answer["Date"]
        )
        if said == "close":
            assert connection.is_closed()
        else:
            assert_usable(connection)


def test_117_http_1_0_keeps_no_connection_that_must_end_the_body(site):
    with connect(site) as connection:
        connection.send(get(steps("send,5"), "Connection: keep-alive", version="1.0"))
        answer = connection.response()
        assert (answer.body, answer["Connection"]) == (b"xxxxx", "close")


def test_117_the_last_answer_before_a_stop_says_close(start):
    site = Site(start, "apps.dispatch", "--chdir", str(HERE), "--workers", "1")
    with connect(site) as connection:
        assert_usable(connection)
        connection.send(get(steps("sleep,2", "send,1")) + GET)
        time.sleep(1)
        site.process.signal(signal.SIGTERM)
        answer = connection.response()
        assert (answer.body, answer["Connection"]) == (b"x", "close")
        assert connection.is_closed()
    assert site.process.wait() == 0


def test_117_error_pages_have_a_date_too(site):
    with connect(site) as connection:
        connection.send(b"GARBAGE\r\n\r\n")
        answer = connection.response()
        assert answer.status == 400 and answer["Date"].endswith(" GMT")
