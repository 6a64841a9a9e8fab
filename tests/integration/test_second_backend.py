# SPDX-License-Identifier: MIT
"""banyan-proxy in front of an app server that was written from the specification alone
(second_backend.py): what the protocol promises, and what it forbids."""

import hashlib
import json
import signal
import time

import pytest
from conftest import HERE, PYTHON, Connection, chunked, free_port, program, until

BACKEND = HERE / "second_backend.py"
MIB = 1 << 20


class Pair:
    """A proxy and an app server."""

    def __init__(self, start, proxy=(), backend=(), scheme="ipc", backends=1):
        self.start, self.backend_options, self.notes = start, backend, 0
        if scheme == "ipc":
            names = [f"ipc://{start.folder}/app-{i}.sock" for i in range(backends)]
        else:
            names = [f"tcp://127.0.0.1:{free_port()}" for _ in range(backends)]
        self.endpoints = names
        self.backends = [self.start_backend(i) for i in range(backends)]
        self.address = ("127.0.0.1", free_port())
        argv = ["--bind", "%s:%d" % self.address, "--threads", 1]
        for endpoint in self.endpoints:
            argv += ["--backend", endpoint]
        self.proxy = start(program("banyan-proxy"), *argv, *proxy)
        self.proxy.wait_log("listening on")
        for endpoint in self.endpoints:
            self.proxy.wait_log(f"{endpoint} is up")

    def start_backend(self, i=0):
        endpoint = self.endpoints[i]
        page = [] if endpoint.startswith("tcp") else ["--page", endpoint[6:] + ".page"]
        backend = self.start(PYTHON, BACKEND, endpoint, *page, *self.backend_options)
        backend.wait_log("ready")
        return backend

    def connect(self, **options):
        return Connection(self.address, **options)

    def ask(self, target, method="GET", fields=(), body=None):
        with self.connect() as c:
            return c.ask(method, target, fields, body)

    def note(self):
        """A file for a handler to write to."""
        self.notes += 1
        return self.start.folder / f"note-{self.address[1]}-{self.notes}"

    def kill_backend(self, i=0):
        self.backends[i].kill()

    def restart_backend(self, i=0):
        self.kill_backend(i)
        self.backends[i] = self.start_backend(i)

    def until_waits(self, text):
        """Until the app server has something that it cannot begin with."""

        def tells():
            self.backends[0].signal(signal.SIGUSR1)
            return text in self.backends[0].log()

        until(tells, text)

    def expect_alive(self):
        r = self.ask("/hello")
        assert (r.status, r.body) == (200, b"hello\n")


def until_begun(note):
    """Until /wait-cancel runs."""
    until(note.with_name(f"{note.name}.begun").exists, "the request")


def until_noted(note, lines):
    until(lambda: note.exists() and note.read_text() == lines, f"{lines!r}")


@pytest.fixture(scope="module", params=["ipc", "tcp"])
def pair(request, start_for_module):
    """For tests that leave everything as it was."""
    start = start_for_module
    options = ["--sendfile-root", start.folder, "--request-buffer", "64K"]
    return Pair(start, options, scheme=request.param)


def pattern(size):
    return (b"0123456789abcdef" * (size // 16 + 1))[:size]


def test_hello(pair):
    r = pair.ask("/hello")
    assert (r.status, r.reason, r.body) == (200, "OK", b"hello\n")
    assert r["Content-Type"] == "text/plain"
    assert r["Content-Length"] == "6"
    assert r["Date"]


def test_the_request_arrives_whole(pair):
    fields = [("X-Test", "caf\xe9"), ("Accept", "a/b")]
    fields += [("Cookie", "a=1"), ("Cookie", "b=2")]
    r = pair.ask("/inspect?q=%20&r", "PATCH", fields, b"body \xff")
    seen = json.loads(r.body)
    headers = dict(seen["headers"])
    assert seen["method"] == "PATCH"
    assert seen["target"] == "/inspect?q=%20&r"
    assert (seen["minor"], seen["scheme"], seen["flags"]) == (1, "http", 0)
    assert seen["client"][0] == "127.0.0.1"
    assert tuple(seen["server"]) == pair.address
    assert seen["body"] == "body \xff"
    assert headers["host"] == "test"
    assert headers["x-test"] == "caf\xe9"
    assert headers["accept"] == "a/b"
    assert headers["content-length"] == "6"
    assert headers["cookie"] == "a=1; b=2"
    assert headers["x-forwarded-for"] == "127.0.0.1"
    assert headers["x-request-id"] == seen["id"]
    assert "connection" not in headers


def test_requests_of_a_connection_are_answered_in_order(pair):
    with pair.connect() as c:
        for target in ["/slow?s=0.2", "/hello", "/status?code=404", "/hello"]:
            c.request("GET", target)
        assert [c.response().status for _ in range(4)] == [200, 200, 404, 200]


@pytest.mark.parametrize("size", [0, 1, 32768, 32769, 300000, 3 * MIB])
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_body_comes_back(pair, size, framing):
    body = pattern(size)
    with pair.connect() as c:
        if framing == "length":
            r = c.ask("POST", "/echo", body=body)
        else:
            c.request("POST", "/echo", [("Transfer-Encoding", "chunked")])
            pieces = [body[i : i + 50000] for i in range(0, size, 50000)]
            c.send(chunked(*pieces))
            r = c.response()
        assert (r.status, len(r.body), r.is_cut) == (200, size, False)
        assert r.body == body
        assert c.ask("GET", "/hello").status == 200


def test_a_large_upload_passes_the_windows(pair):
    body = pattern(40 * MIB)
    r = pair.ask("/digest", "POST", body=body)
    assert r.body.decode().split() == [str(len(body)), hashlib.sha256(body).hexdigest()]


def test_a_slow_reader_in_the_app_gets_it_all(pair):
    body = pattern(4 * MIB)
    r = pair.ask("/digest?pause=0.005", "POST", body=body)
    assert r.body.decode().split() == [str(len(body)), hashlib.sha256(body).hexdigest()]


@pytest.mark.parametrize(
    "query", ["", "&unknown", "&piece=1000", "&piece=131072", "&piece=7"]
)
def test_a_download_passes_the_windows(pair, query):
    size = 20000 if query == "&piece=7" else 8 * MIB + 123
    r = pair.ask(f"/download?bytes={size}{query}")
    assert (r.status, len(r.body), r.is_cut) == (200, size, False)
    assert (r["Content-Length"] == str(size)) == (query != "&unknown")
    if "piece" not in query:
        assert r.body == pattern(65536) * (size // 65536) + pattern(size % 65536)


def test_a_client_that_does_not_read_stops_the_app(pair):
    with pair.connect(receive_buffer=4096) as slow:
        note = pair.note()
        slow.request("GET", f"/download?mib=64&note={note}")
        time.sleep(0.5)
        assert pair.ask("/hello").status == 200
        assert not note.exists()
        r = slow.response()
        assert (len(r.body), r.is_cut) == (64 * MIB, False)
        assert note.read_text() == "sent\n"


def test_an_app_that_does_not_read_stops_the_client(pair):
    with pair.connect(patience_s=0.5) as c:
        c.request("POST", "/slow?s=1.5", [("Content-Length", str(256 * MIB))])
        sent, data = 0, pattern(MIB)
        with pytest.raises(TimeoutError):
            while sent < 256 * MIB:
                sent += c.socket.send(data)
        assert sent < 32 * MIB
    pair.expect_alive()


@pytest.mark.parametrize("framing", ["length", "unknown"])
def test_head_has_no_body(pair, framing):
    with pair.connect() as c:
        r = c.ask("HEAD", "/download?bytes=1000" + "&unknown" * (framing == "unknown"))
        assert r.status == 200
        assert c.ask("GET", "/hello").body == b"hello\n"


@pytest.mark.parametrize(
    "code,reason", [(204, ""), (304, ""), (200, "Fine"), (599, "Odd")]
)
def test_status_and_reason(pair, code, reason):
    with pair.connect() as c:
        r = c.ask("GET", f"/status?code={code}&reason={reason}&body=x")
        assert r.status == code
        assert r.reason == reason or not reason
        assert r.body == (b"" if code in (204, 304) else b"x")
        assert c.ask("GET", "/hello").body == b"hello\n"


def test_an_interim_answer_goes_through(pair):
    r = pair.ask("/inform")
    assert [i.status for i in r.informs] == [103]
    assert r.informs[0]["Link"] == "</style.css>; rel=preload"
    assert r.body == b"final\n"


def test_continue_is_sent_when_the_body_is_wanted(pair):
    body = pattern(100000)
    with pair.connect() as c:
        fields = [("Expect", "100-continue"), ("Content-Length", "100000")]
        c.request("PUT", "/digest", fields)
        assert c.head().status == 100
        c.send(body)
        assert c.response().body.startswith(b"100000 ")


def test_a_body_that_is_not_wanted_is_not_asked_for(pair):
    with pair.connect() as c:
        fields = [("Expect", "100-continue"), ("Content-Length", "100000")]
        r = c.ask("PUT", "/early", fields)
        assert (r.status, r.informs) == (403, [])
        assert c.is_closed()


def test_an_answer_may_come_before_the_body(pair):
    with pair.connect() as c:
        c.request("PUT", "/early", [("Content-Length", str(10 * MIB))])
        c.send(pattern(MIB))
        assert c.response().status == 403


def test_the_proxy_sends_a_file_itself(pair):
    path = pair.start.folder / "file"
    data = pattern(3 * MIB + 5)
    path.write_bytes(data)
    r = pair.ask(f"/file?path={path}")
    assert (r.status, r.body == data, r.is_cut) == (200, True, False)


def test_a_file_elsewhere_is_sent_by_the_app(pair):
    r = pair.ask(f"/file?path={BACKEND}")
    assert (r.status, r.body) == (200, BACKEND.read_bytes())


def test_abort_before_the_head_is_500(pair):
    for path in ["/abort", "/raise"]:
        r = pair.ask(path)
        assert r.status == 500
        assert b"told to" not in r.body


def test_abort_after_the_head_cuts_the_connection(pair):
    r = pair.ask("/abort-after-head")
    assert (r.status, r.body, r.is_cut) == (200, b"half", True)


def test_a_returned_request_goes_out_again(pair):
    r = pair.ask("/return-once", "POST", body=b"x")
    assert (r.status, r.body) == (200, b"at last\n")


def test_a_client_that_leaves_cancels_its_request(pair):
    note = pair.note()
    with pair.connect() as c:
        c.request("GET", f"/wait-cancel?note={note}")
        until_begun(note)
    until(note.exists, "the cancellation")
    assert until(note.read_text) == "CLIENT_GONE\n"


def test_a_client_that_leaves_in_its_upload_cancels_it(pair):
    note = pair.note()
    with pair.connect() as c:
        c.request("POST", f"/wait-cancel?note={note}", [("Content-Length", "1000000")])
        c.send(pattern(200000))
        until_begun(note)
    until(note.exists, "the cancellation")
    assert until(note.read_text) == "CLIENT_GONE\n"


@pytest.mark.parametrize(
    "path", ["/late", "/unknown-stream", "/old-epoch", "/odd-kind", "/more-elements"]
)
def test_what_is_normal_to_drop_is_dropped(pair, path):
    with pair.connect() as c:
        for _ in range(3):
            r = c.ask("GET", path)
            assert r.status == 200
            assert r.body in (b"first\n", b"mine\n")
    pair.expect_alive()


def test_bytes_beyond_the_stated_length_are_cut(pair):
    with pair.connect() as c:
        r = c.ask("GET", "/excess")
        assert (r["Content-Length"], r.body) == ("5", b"12345")
    pair.expect_alive()


def test_an_answer_that_ends_early_is_never_ended_cleanly(pair):
    r = pair.ask("/short")
    assert (r.body, r.is_cut) == (b"12345", True)


@pytest.mark.parametrize(
    "query",
    [
        "value=a%0d%0aSet-Cookie:%20x",
        "value=a%0ab",
        "value=a%00b",
        "name=a%20b&value=x",
        "name=a:b&value=x",
        "name=&value=x",
    ],
)
def test_a_header_that_breaks_http_is_a_502(pair, query):
    r = pair.ask(f"/bad-header?{query}")
    assert r.status == 502
    assert r["Set-Cookie"] is None
    pair.expect_alive()


@pytest.fixture
def fresh(start):
    return Pair(start)


@pytest.mark.parametrize(
    "target",
    [
        "/even-kind",
        "/three-parts",
        "/flood",
        "/body-first",
        "/two-heads",
        "/garbage?hex=c1",
        "/garbage?hex=930306",
        "/garbage?hex=dd7fffffff",
        "/garbage?hex=9103",
        "/garbage?hex=92a16101",
    ],
)
def test_a_malformed_frame_ends_the_link_but_nothing_else(fresh, target):
    r = fresh.ask(target, "POST", body=b"x")
    assert r.status in (502, 200)
    assert r.status == 502 or r.is_cut
    fresh.expect_alive()
    assert fresh.proxy.is_running()


def test_other_requests_of_a_malformed_link_are_settled(start):
    pair = Pair(start, backend=["--slots", 8])
    note, release = pair.note(), pair.note()
    target = f"/hold?note={note}&until={release}"
    with pair.connect() as get, pair.connect() as post:
        get.request("GET", target)
        post.request("POST", target, body=b"x")
        until_noted(note, "held\n" * 2)
        assert pair.ask("/even-kind", "POST", body=b"x").status == 502
        release.touch()
        assert get.response().status == 200  # once more
        assert post.response().status == 502  # it may have happened


def test_a_broken_connection_is_made_again(fresh):
    r = fresh.ask("/drop-link")
    assert (r.status, r.body) == (200, b"flags 4\n")
    r = fresh.ask("/drop-link", "POST", body=b"x")
    assert r.status == 502
    fresh.expect_alive()


def test_a_started_post_is_not_sent_twice(fresh):
    note = fresh.note()
    r = fresh.ask(f"/die?note={note}", "POST", body=b"x")
    assert r.status == 502
    fresh.restart_backend()
    fresh.expect_alive()
    assert note.read_text() == "die\n"


def test_a_started_get_is_sent_twice_at_most(fresh):
    note = fresh.note()
    with fresh.connect() as c:
        c.request("GET", f"/die?note={note}")
        until(lambda: not fresh.backends[0].is_running(), "the death")
        fresh.restart_backend()
        assert c.response().status == 502
    assert note.read_text() == "die\ndie\n"


def test_an_answer_that_began_is_cut_when_its_app_dies(fresh):
    r = fresh.ask("/die-after-head")
    assert (r.status, r.body, r.is_cut) == (200, b"half", True)


def test_posts_that_were_never_started_go_to_the_next(start):
    """Two run and die; those behind them in the app are not marked in its page."""
    pair = Pair(start, backend=["--slots", 2, "--grant", 10])
    slow = [pair.connect() for _ in range(2)]
    waiting, note = [], pair.note()
    try:
        for c in slow:
            c.request("POST", f"/slow?s=30&note={note}", body=b"x")
        until_noted(note, "slow\n" * 2)
        for _ in range(3):
            waiting.append(pair.connect())
            waiting[-1].request("POST", "/hello", body=b"x")
        time.sleep(0.3)
        pair.restart_backend()
        assert [c.response("POST").status for c in slow] == [502, 502]
        assert [c.response("POST").status for c in waiting] == [200, 200, 200]
    finally:
        for c in slow + waiting:
            c.close()


def test_without_a_page_nobody_knows_what_was_started(start):
    pair = Pair(start, scheme="tcp", backend=["--slots", 1, "--grant", 10])
    note, release = pair.note(), pair.note()
    with pair.connect() as slow, pair.connect() as behind:
        slow.request("GET", f"/hold?note={note}&until={release}")
        until_noted(note, "held\n")
        behind.request("POST", "/hello", body=b"x")
        pair.until_waits("/hello waits")
        pair.restart_backend()
        release.touch()
        assert slow.response().status == 200
        assert behind.response("POST").status == 502


def test_nothing_is_run_twice_or_lost_over_a_death(start):
    """The app does not read when it dies: its requests lie everywhere on the way."""
    pair = Pair(start, backend=["--slots", 2, "--grant", 40])
    note = pair.note()
    connections = [pair.connect() for _ in range(30)]
    pair.backends[0].signal(signal.SIGSTOP)
    for c in connections:
        c.request("POST", f"/slow?s=0&note={note}", body=b"x" * 30000)
    time.sleep(0.3)
    pair.restart_backend()
    assert [c.response("POST").status for c in connections] == [200] * 30
    assert note.read_text() == "slow\n" * 30
    for c in connections:
        c.close()


def test_idempotent_requests_survive_a_death(start):
    pair = Pair(start, backends=2)
    connections = [pair.connect() for _ in range(3)]
    for c in connections:
        c.request("GET", "/slow?s=0.7")
    time.sleep(0.3)
    pair.kill_backend(0)
    assert [c.response().status for c in connections] == [200, 200, 200]


def test_requests_wait_while_no_app_is_up(fresh):
    fresh.kill_backend()
    with fresh.connect() as c:
        c.request("POST", "/hello", body=b"x")
        time.sleep(0.3)
        fresh.restart_backend()
        assert c.response("POST").status == 200


def test_an_app_that_drains_fails_nobody(start):
    pair = Pair(start, backends=2)
    connections = [pair.connect() for _ in range(6)]
    for c in connections:
        c.request("POST", "/slow?s=0.5", body=b"x")
    time.sleep(0.2)
    assert pair.backends[0].stop() == 0
    assert [c.response("POST").status for c in connections] == [200] * 6
    pair.expect_alive()


def test_a_request_that_takes_too_long_is_a_504_and_cancelled(start):
    pair = Pair(start, ["--request-timeout", "2"])
    note = pair.note()
    r = pair.ask(f"/wait-cancel?note={note}")
    assert r.status == 504
    until(note.exists, "the cancellation")
    assert until(note.read_text) == "REQUEST_TIMEOUT\n"
    pair.expect_alive()


def test_a_request_that_waits_too_long_is_a_503(start):
    pair = Pair(start, ["--queue-timeout", "0.5"])
    pair.kill_backend()
    r = pair.ask("/hello")
    assert r.status == 503
    assert r["Retry-After"]


def test_a_stopped_app_is_noticed(start):
    """Its socket stays open; only its silence tells."""
    pair = Pair(start, ["--heartbeat-timeout", "2"], backends=2)
    pair.backends[0].signal(signal.SIGSTOP)
    connections = [pair.connect() for _ in range(4)]
    for c in connections:
        c.request("GET", "/hello")
    assert [c.response().status for c in connections] == [200] * 4
    pair.backends[0].signal(signal.SIGCONT)


def test_pings_are_answered_while_all_slots_are_busy(start):
    pair = Pair(start, ["--heartbeat-timeout", "2.5"], backend=["--slots", 1])
    assert pair.ask("/slow?s=6").status == 200
    assert "is down" not in pair.proxy.log()


def test_small_windows_of_an_app_are_kept(start):
    pair = Pair(start, ["--request-buffer", "64K"], backend=["--window", 10000])
    body = pattern(2 * MIB)
    r = pair.ask("/digest", "POST", body=body)
    assert r.body.startswith(b"%d " % len(body))
    assert "malformed" not in pair.backends[0].log()


def test_a_killed_proxy_leaves_the_app_ready_for_the_next(start):
    pair = Pair(start)
    note = pair.note()
    with pair.connect() as c:
        c.request("POST", f"/wait-cancel?note={note}", body=b"x")
        until_begun(note)
        pair.proxy.kill()
        second = start(*pair.proxy.argv)
        second.wait_log("is up")
        pair.expect_alive()
    until(note.exists, "the cancellation")
    assert until(note.read_text) == "the peer is gone\n"
    assert "malformed" not in pair.backends[0].log()


def test_a_wsgi_application_runs(start):
    (start.folder / "site_for_test.py").write_text(
        "def application(environ, start_response):\n"
        "    body = environ['wsgi.input'].read()\n"
        "    start_response('200 OK', [('Content-Type', 'text/plain')])\n"
        "    yield environ['PATH_INFO'].encode('latin-1')\n"
        "    yield environ['HTTP_X_TEST'].encode() + body\n"
    )

    class WsgiPair(Pair):
        def start_backend(self, i=0):
            argv = [BACKEND, self.endpoints[i], "--wsgi", "site_for_test:application"]
            return self.start(PYTHON, *argv, cwd=self.start.folder)

    r = WsgiPair(start).ask("/a%20b?c", "POST", [("X-Test", "yes ")], pattern(100000))
    assert (r.status, r.body) == (200, b"/a byes" + pattern(100000))
