# SPDX-License-Identifier: MIT
"""What ends a connection or a request that takes too long or is too large, and what
does not: each timeout and limit, with small values. Of times only the least is checked,
or that one comes long before another: the machine may be busy with other things."""

import select
import time

import pytest
from conftest import Connection, chunked
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
    leave_by_reset,
    post,
    steps,
)


HASTE_S = 1.5


@pytest.fixture(scope="module")
def hasty(sites):
    """Little time for everything."""
    names = ["header", "body", "keepalive", "write", "request", "queue"]
    options = [word for name in names for word in (f"--{name}-timeout", str(HASTE_S))]
    return sites("--threads", "4", "--edge-threads", "1", *options)


# ---- timeouts ----


def test_115_a_slow_head_is_408_however_often_a_byte_comes(hasty):
    with connect(hasty) as connection, Clock() as clock:
        trickle(connection, GET)
        answer = connection.response()
        assert (answer.status, answer["Connection"]) == (408, "close")
        assert connection.is_closed()
    assert clock.seconds >= HASTE_S


def trickle(connection, data, seconds=0.08):
    """A byte now and then, until an answer comes."""
    connection.socket.settimeout(seconds)
    for n in range(len(data)):
        connection.send(data[n : n + 1])
        try:
            connection.receive()
            break
        except TimeoutError:
            continue
    connection.socket.settimeout(10)


def test_115_the_clock_of_a_head_starts_with_its_first_byte(hasty):
    with connect(hasty) as connection:
        time.sleep(0.6 * HASTE_S)
        connection.send(GET[:20])
        time.sleep(0.6 * HASTE_S)
        connection.send(GET[20:])
        assert connection.response().body == HELLO
        time.sleep(0.6 * HASTE_S)  # and anew with each
        connection.send(GET[:20])
        time.sleep(0.6 * HASTE_S)
        connection.send(GET[20:])
        assert connection.response().body == HELLO


def test_115_a_body_that_stops_is_408(hasty):
    with connect(hasty) as connection, Clock() as clock:
        connection.send(post("/hello", "Content-Length: 10") + b"x")
        answer = connection.response()
        assert (answer.status, answer["Connection"]) == (408, "close")
        assert connection.is_closed()
    assert clock.seconds >= HASTE_S


def test_115_408_survives_a_client_that_sends_on(hasty):
    """The rest of the body would make the kernel reset a closed connection."""
    with connect(hasty) as connection:
        connection.send(post("/hello", "Content-Length: 10") + b"x")
        assert connection.receive()
        connection.send(b"xxx")
        time.sleep(0.05)
        connection.send(b"xxx")
        assert connection.response().status == 408
        assert end_of(connection) == "closed"


def test_115_a_body_that_was_asked_for_and_does_not_come_is_408(hasty):
    with connect(hasty) as connection:
        connection.send(post(steps("read"), EXPECT, "Content-Length: 5"))
        assert connection.head().status == 100
        with Clock() as clock:
            assert connection.response().status == 408
            assert connection.is_closed()
    assert clock.seconds >= 0.8 * HASTE_S
    with connect(hasty) as connection:
        assert_usable(connection)


def test_115_a_body_that_comes_slowly_is_taken(hasty):
    with connect(hasty) as connection:
        connection.send(post(steps("read"), "Content-Length: 4"))
        for byte in b"abcd":
            time.sleep(0.4 * HASTE_S)
            connection.send(bytes([byte]))
        assert connection.response().body == b"abcd"


def test_115_a_client_that_reads_nothing_is_cut_off(hasty):
    with connect(hasty, receive_buffer=4096) as connection:
        connection.send(get(steps("send,50000000")))
        wait_for_reset(connection)
        assert end_of(connection) == "reset"
        assert len(connection.buffer) < 50000000
    with connect(hasty) as connection:
        assert_usable(connection)


def wait_for_reset(connection):
    """Without reading, which would make room."""
    poll = select.poll()
    poll.register(connection.socket, 0)
    assert poll.poll(20_000)


def test_115_a_client_that_reads_slowly_is_not(hasty):
    """Each time too little for the kernel to speak of room."""
    size = 12_000_000
    with connect(hasty, receive_buffer=65536) as connection:
        connection.send(get(steps(f"head,{size}", f"send,{size}")))
        assert connection.head().status == 200
        for _ in range(10):
            time.sleep(0.2 * HASTE_S)
            assert connection.take_exactly(100_000, [])
        assert connection.take_exactly(size - 10 * 100_000, [])
        assert_usable(connection)


def test_116_an_idle_connection_is_closed_without_a_word(hasty):
    with connect(hasty) as connection:
        assert_usable(connection)
        with Clock() as clock:
            assert connection.is_closed()
    assert clock.seconds >= 0.8 * HASTE_S


def test_116_a_connection_without_a_request_is_closed_without_a_word(hasty):
    with connect(hasty) as connection, Clock() as clock:
        assert connection.is_closed()
    assert clock.seconds >= 0.8 * HASTE_S


def test_without_keep_alive_each_answer_ends_its_connection(sites):
    site = sites("--threads", "2", "--keepalive-timeout", "0")
    with connect(site) as connection:
        answer = connection.ask("GET", "/hello")
        assert (answer.status, answer["Connection"]) == (200, "close")
        assert connection.is_closed()


def test_an_upload_slower_than_its_rate_is_408(sites):
    options = ("--body-min-rate", "1000", "--body-grace", "0.5")
    site = sites("--threads", "2", *options)
    with connect(site) as connection:
        connection.send(post("/hello", "Content-Length: 1000000"))
        trickle(connection, b"x" * 1000)
        assert connection.response().status == 408
        assert connection.is_closed()
    with connect(site) as connection:
        assert connection.ask("POST", steps("read"), body=b"x" * 5000).status == 200


def test_an_answer_that_does_not_begin_is_504(hasty):
    with connect(hasty) as connection, Clock() as clock:
        connection.send(get(steps("sleep,10")))
        answer = connection.response()
        assert (answer.status, answer["Connection"]) == (504, None)
        assert_usable(connection)
    assert HASTE_S <= clock.seconds < 10
    hasty.wait_log("did not answer in time")


def test_an_answer_that_began_may_take_its_time(hasty):
    with connect(hasty) as connection:
        answer = connection.ask("GET", steps("send,1", "sleep,2", "send,1"))
        assert (answer.body, answer.is_cut) == (b"xx", False)


def test_the_applications_clock_stands_while_a_client_uploads(sites):
    site = sites("--threads", "2", "--request-timeout", "2", "--request-buffer", "0")
    with connect(site) as connection:
        connection.send(post(steps("read"), "Content-Length: 4"))
        for byte in b"abcd":
            time.sleep(0.8)
            connection.send(bytes([byte]))
        answer = connection.response()
        assert (answer.status, answer.body) == (200, b"abcd")


@pytest.fixture(scope="module")
def queueing(sites):
    return sites(*ONE_THREAD, "--max-queue", "2", "--queue-timeout", "2")


def test_a_full_queue_is_503_and_so_is_waiting_too_long(queueing):
    """Some wait in the app server, two in the queue, the others nowhere."""
    connections = [connect(queueing) for _ in range(20)]
    connections[0].send(get(steps("sleep,6", "send,1")))
    time.sleep(0.2)
    with Clock() as clock:
        for connection in connections[1:]:
            connection.send(GET)
        waited = {200: [], 503: []}
        for connection in reversed(connections[1:]):
            answer = connection.response()
            assert answer["Retry-After"] == ("1" if answer.status == 503 else None)
            waited[answer.status].append(clock.passed())
    late = [seconds for seconds in waited[503] if seconds > 1.8]
    assert len(late) == 2 and len(waited[503]) > 2
    assert all(seconds > 5 for seconds in waited[200])
    assert connections[0].response().body == b"x"
    for connection in connections:
        assert_usable(connection)
        connection.close()


def test_without_patience_nobody_waits_in_the_queue(sites):
    site = sites(*ONE_THREAD, "--queue-timeout", "0")
    connections = [connect(site) for _ in range(20)]
    connections[0].send(get(steps("sleep,5", "send,1")))
    time.sleep(0.2)
    with Clock() as clock:
        for connection in connections[1:]:
            connection.send(GET)
        assert connections[-1].response().status == 503
    assert clock.seconds < 4
    assert connections[0].response().body == b"x"


def test_who_leaves_the_queue_makes_room(queueing):
    with connect(queueing) as first, connect(queueing) as last:
        first.send(get(steps("sleep,0.4", "send,1")))
        time.sleep(0.1)
        for leave in [Connection.close, leave_by_reset] * 10:
            leaver = connect(queueing)
            leaver.send(GET)
            leave(leaver)
        last.send(GET)
        assert last.response().body == HELLO
        assert first.response().body == b"x"


@pytest.fixture(scope="module")
def crowded(sites):
    return sites(*ONE_THREAD, "--max-connections", "6")


def test_116_the_longest_idle_connection_makes_room(crowded):
    connections = [connect(crowded) for _ in range(6)]
    for connection in connections[1:] + connections[:1]:
        assert_usable(connection)
    with connect(crowded) as newcomer:
        assert_usable(newcomer)
        assert connections[1].is_closed()
    for connection in connections[:1] + connections[2:]:
        assert_usable(connection)
        connection.close()


def test_while_all_connections_are_busy_new_ones_wait(crowded):
    connections = [connect(crowded) for _ in range(6)]
    for connection in connections:
        connection.send(get("/hello")[:20])
    time.sleep(0.1)
    with connect(crowded) as newcomer:
        newcomer.send(GET)
        assert_silent(newcomer, 0.2)
        connections[0].close()
        assert newcomer.response().body == HELLO
    for connection in connections[1:]:
        connection.close()


# ---- limits ----


@pytest.fixture(scope="module")
def narrow(sites):
    return sites(
        *("--threads", "2", "--max-head", "2K", "--max-target", "256"),
        *("--max-fields", "5", "--max-body", "1000"),
    )


def fields(count):
    return [f"X-{n}: b" for n in range(count)]


@pytest.mark.parametrize(
    "status, request_",
    [
        (200, get("/hello?" + "q" * 249)),
        (414, get("/hello?" + "q" * 250)),
        (200, get("/hello", *fields(4))),
        (431, get("/hello", *fields(5))),
        (200, get("/hello", "X: " + "x" * 1900)),
        (431, get("/hello", "X: " + "x" * 2100)),
        (431, get("/hello", "X: " + "x" * 100_000)),
        (431, get("/hello", "X" * 100_000)),
        (200, post("/hello", "Content-Length: 1000") + b"x" * 1000),
        (413, post("/hello", "Content-Length: 1001")),
        (413, post("/hello", "Content-Length: 1001") + b"x" * 1001),
        (413, post("/hello", "Content-Length: 1001", EXPECT)),
        (
            200,
            post("/hello", "Transfer-Encoding: chunked")
            + chunked(b"x" * 500, b"x" * 500),
        ),
        (
            413,
            post("/hello", "Transfer-Encoding: chunked")
            + chunked(b"x" * 500, b"x" * 501),
        ),
        (
            413,
            post("/hello", "Transfer-Encoding: chunked") + chunked(*[b"x" * 500] * 400),
        ),
    ],
    ids=lambda value: value if isinstance(value, int) else value[:0].decode(),
)
def test_limits_are_exact_and_what_is_beyond_ends_the_connection(
    narrow, status, request_
):
    with connect(narrow) as connection:
        connection.send(request_)
        answer = connection.response()
        assert answer.status == status
        if status == 200:
            assert_usable(connection)
        else:
            assert answer["Connection"] == "close"
            assert end_of(connection) == "closed"
