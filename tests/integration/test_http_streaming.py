# SPDX-License-Identifier: MIT
"""Bodies that go on as they come, in both directions, and what follows them: the proxy in
front of second_backend.py. Each side goes on when it sees what the other did."""

import hashlib
import signal

import pytest
from conftest import chunked, until
from test_second_backend import Pair, pattern

ASGI = ["--interface", "asgi"]


@pytest.fixture(scope="module")
def asgi(start_for_module):
    return Pair(start_for_module, backend=[*ASGI, "--slots", "8"])


# ---- requests ----


def begin_upload(connection, note, size):
    length = [("Content-Length", str(size))]
    connection.request("POST", f"/listen?note={note}", length)


def wait_note(note, lines):
    until(lambda: note.exists() and note.read_text().split() == lines, f"{lines}")


def test_an_asgi_application_hears_each_piece_as_it_comes(asgi):
    note = asgi.note()
    with asgi.connect() as c:
        begin_upload(c, note, 9)
        wait_note(note, ["begun"])
        c.send(b"abc")
        wait_note(note, ["begun", "abc"])
        c.send(b"def")
        wait_note(note, ["begun", "abc", "def"])
        c.send(b"ghi")
        assert c.response().body == b"heard\n"
        assert note.read_text().split() == ["begun", "abc", "def", "ghi"]
        assert c.ask("GET", "/hello").status == 200


def test_chunks_are_heard_one_by_one(asgi):
    note = asgi.note()
    with asgi.connect() as c:
        c.request("POST", f"/listen?note={note}", [("Transfer-Encoding", "chunked")])
        wait_note(note, ["begun"])
        c.send(b"3\r\nabc\r\n")
        wait_note(note, ["begun", "abc"])
        c.send(b"3\r\ndef\r\n")
        wait_note(note, ["begun", "abc", "def"])
        c.send(b"0\r\nX-Trailer: dropped\r\n\r\n")
        assert c.response().body == b"heard\n"
        assert c.ask("GET", "/hello").status == 200


@pytest.mark.parametrize("interface, when", [("wsgi", "auto"), ("asgi", "on")])
def test_a_gathered_body_bothers_nobody_before_it_is_whole(start, interface, when):
    pair = Pair(start, ["--request-buffering", when], ["--interface", interface])
    note = pair.note()
    with pair.connect() as c:
        begin_upload(c, note, 6)
        c.send(b"abc")
        for _ in range(10):
            pair.expect_alive()
        assert not note.exists()
        c.send(b"def")
        assert c.response().body == b"heard\n"
        assert note.read_text() == "begun\nabcdef\n"


def test_buffering_may_be_off_for_wsgi(start):
    pair = Pair(start, ["--request-buffering", "off"])
    note = pair.note()
    with pair.connect() as c:
        begin_upload(c, note, 3)
        wait_note(note, ["begun"])
        c.send(b"abc")
        assert c.response().body == b"heard\n"


def test_a_small_body_that_comes_with_its_head_is_one_piece(asgi):
    r = asgi.ask("/inspect", "POST", body=b"abc")
    assert b'"body_ended": true' in r.body and b'"body_length": null' in r.body


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_large_uploads_arrive_whole(asgi, framing):
    body = pattern(20_000_000)
    with asgi.connect() as c:
        if framing == "length":
            r = c.ask("POST", "/digest", body=body)
        else:
            c.request("POST", "/digest", [("Transfer-Encoding", "chunked")])
            pieces = [body[i : i + 70_000] for i in range(0, len(body), 70_000)]
            c.send(chunked(*pieces))
            r = c.response()
    assert r.body.decode().split() == [str(len(body)), hashlib.sha256(body).hexdigest()]


class Held:
    """A pair whose only slot is taken by a request."""

    def __init__(self, start, *options):
        more = ["--slots", "1", "--grant", "10", *options]
        self.pair = Pair(start, backend=[*ASGI, *more])
        self.release = self.pair.note()
        note = self.pair.note()
        self.connection = self.pair.connect()
        target = f"/hold?note={note}&until={self.release}"
        self.connection.request("POST", target, body=b"x")
        wait_note(note, ["held"])

    def wait_for_bytes(self, size):
        """Until so much of an upload lies unread in the app server."""
        self.pair.until_waits(f"waits with {size} bytes")

    def drain(self):
        backend = self.pair.backends[0]
        backend.signal(signal.SIGTERM)
        backend.wait_log("drained")
        self.release.touch()
        assert self.connection.response().status == 200
        backend.wait()


@pytest.mark.parametrize("how", ["drains", "dies"])
@pytest.mark.parametrize("size", [100_000, 250_000])
def test_an_upload_that_nobody_began_with_goes_to_the_next(start, how, size):
    held, body = Held(start), pattern(size)
    with held.pair.connect() as c:
        c.request("POST", "/digest", [("Content-Length", str(size))])
        c.send(body[:-1000])
        held.wait_for_bytes(size - 1000)
        if how == "drains":
            held.drain()
        else:
            held.pair.kill_backend()
        held.pair.backends[0] = held.pair.start_backend()
        c.send(body[-1000:])
        r = c.response()
    assert r.status == 200
    assert r.body.decode().split() == [str(size), hashlib.sha256(body).hexdigest()]


def test_what_is_beyond_the_copy_is_lost_with_its_app_server(start):
    held = Held(start, "--window", "1000000")
    with held.pair.connect() as c:
        c.request("POST", "/digest", [("Content-Length", "900000")])
        c.send(pattern(899_999))
        held.wait_for_bytes(899_999)
        held.drain()
        assert c.response().status == 502


# ---- answers ----


def test_each_small_piece_of_an_answer_leaves_at_once(asgi):
    got = asgi.note()
    with asgi.connect() as c:
        c.request("GET", f"/drip?pieces=20&got={got}")
        assert c.head()["Transfer-Encoding"] == "chunked"
        for i in range(20):
            size, parts = int(c.take_line(), 16), []
            assert c.take_exactly(size, parts)
            assert b"".join(parts) == b"piece %d\n" % i
            assert c.take_line() == ""
            got.with_name(f"{got.name}.{i}").touch()
        assert (c.take_line(), c.take_line()) == ("0", "")


# ---- trailers ----


@pytest.mark.parametrize("te", ["trailers", "gzip;q=0.5, Trailers"])
def test_trailers_reach_a_client_that_takes_them(asgi, te):
    with asgi.connect() as c:
        for _ in range(2):
            r = c.ask("GET", "/trailers", [("TE", te), ("Connection", "TE")])
            assert (r.status, r.body, r["Trailer"]) == (200, b"hello", "X-Sum")
            assert c.trailers == ["X-Sum: 5", "X-Taken: True"]


@pytest.mark.parametrize(
    "method, query, fields, body",
    [
        ("GET", "", [], b"hello"),
        ("GET", "", [("TE", "gzip")], b"hello"),
        ("GET", "?length", [("TE", "trailers")], b"hello"),
        ("HEAD", "", [("TE", "trailers")], b""),
    ],
)
def test_trailers_that_nobody_takes_are_dropped(asgi, method, query, fields, body):
    with asgi.connect() as c:
        r = c.ask(method, f"/trailers{query}", fields)
        assert (r.status, r.body, r["Trailer"]) == (200, body, None)
        assert c.trailers == []
        assert c.ask("GET", "/hello").body == b"hello\n"


def test_an_http_1_0_client_gets_no_trailers(asgi):
    with asgi.connect() as c:
        c.send(b"GET /trailers HTTP/1.0\r\nTE: trailers\r\n\r\n")
        r = c.response()
        assert (r.body, r["Trailer"], r["Transfer-Encoding"]) == (b"hello", None, None)


def test_trailers_that_break_http_cut_the_answer(asgi):
    with asgi.connect() as c:
        r = c.ask("GET", "/trailers?value=a%0d%0aX-B:c", [("TE", "trailers")])
        assert (r.body, r.is_cut) == (b"hello", True)
    asgi.proxy.wait_log("bad value of trailer X-Sum (GET /trailers")
    asgi.expect_alive()


def test_the_log_names_the_field_that_no_client_may_see(asgi):
    assert asgi.ask("/bad-header?value=a%0ab").status == 502
    asgi.proxy.wait_log("invalid response: bad value of X-Split (GET /bad-header")
    line = [line for line in asgi.proxy.log().splitlines() if "X-Split" in line][-1]
    assert line.endswith("b1)")
