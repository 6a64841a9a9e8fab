# SPDX-License-Identifier: MIT
"""What the ASGI specification and its users expect of a server for HTTP, point by point, over real
processes. The applications are apps/asgi/*.py, in both hosts of Python and on both event loops."""

import ast
import hashlib
import os
import signal
import time
from urllib.parse import quote

import pytest
from asgi_talk import HOSTS, AsgiSite, body, length, script, start, values
from conftest import HERE, PYTHON, Connection, chunked, free_port, program, until

MIB = 1 << 20
# AddressSanitizer keeps freed memory for a while.
GROWTH_MIB = 64 if os.environ.get("BANYAN_PRESET") == "asan" else 8
HEADERS_OF_THE_EDGE = (b"x-forwarded-", b"x-real-ip", b"x-request-")


@pytest.fixture(scope="module", params=HOSTS, ids=" ".join)
def site(request, module_site_of):
    site = AsgiSite(module_site_of, *request.param)
    yield site
    assert site.process.stop() == 0


@pytest.fixture
def own_site(site_of):
    """Starts a site with the options given."""
    return lambda *options, **more: AsgiSite(site_of, *options, **more)


def scope_of(site, target="/show_scope", **more):
    return site.value(target, **more)


def headers_of(scope):
    return [pair for pair in scope["headers"] if not pair[0].startswith(HEADERS_OF_THE_EDGE)]


def refused(note):
    """Whether the script noted an exception."""
    return isinstance(note, list) and "Exception" in note


# ---- scope ----


def test_59_http_version_is_the_clients(site):
    assert scope_of(site)["http_version"] == "1.1"
    with site.connect() as connection:
        connection.send(b"GET /show_scope HTTP/1.0\r\nHost: a\r\n\r\n")
        scope = ast.literal_eval(connection.response().body.decode())
    assert (scope["http_version"], scope["type"], scope["scheme"]) == ("1.0", "http", "http")


def test_60_client_and_server_have_int_ports(site):
    with site.connect() as connection:
        scope = ast.literal_eval(connection.ask("GET", "/show_scope").body.decode())
        port = connection.socket.getsockname()[1]
    assert list(scope["client"]) == ["127.0.0.1", port]
    assert list(scope["server"]) == ["127.0.0.1", site.address[1]]
    assert type(scope["server"][1]) is type(scope["client"][1]) is int


def test_60b_a_unix_socket_has_no_port(own_site, start):
    path = str(start.folder / "http.sock")
    own_site("--bind", f"unix:{path}")
    until(lambda: os.path.exists(path), "the socket")
    with Connection(path) as connection:
        scope = ast.literal_eval(connection.ask("GET", "/show_scope").body.decode())
    assert list(scope["server"]) == [path, None]
    assert scope["client"] is None or list(scope["client"])[1] in (None, 0)


def test_60c_a_trusted_proxy_names_client_and_scheme(own_site):
    site = own_site("--trusted-proxies", "127.0.0.1")
    fields = [("X-Forwarded-Proto", "https"), ("X-Forwarded-For", "203.0.113.7")]
    scope = scope_of(site, fields=fields)
    assert (scope["scheme"], scope["client"][0]) == ("https", "203.0.113.7")


def test_61_path_is_decoded_and_raw_path_is_as_sent(site):
    scope = scope_of(site, "/show_scope/caf%C3%A9/a%2Fb/%41?x=%20y&z")
    assert scope["path"] == "/show_scope/café/a/b/A"
    assert scope["raw_path"] == b"/show_scope/caf%C3%A9/a%2Fb/%41"
    assert scope["query_string"] == b"x=%20y&z"
    assert scope_of(site)["query_string"] == b""


def test_61b_bytes_that_are_no_utf_8_become_replacement_characters(site):
    scope = scope_of(site, "/show_scope/%FF")
    assert (scope["path"], scope["raw_path"]) == ("/show_scope/\ufffd", b"/show_scope/%FF")


def test_62_root_path_is_empty(site):
    assert scope_of(site)["root_path"] == ""


def test_63_header_names_are_lower_case_bytes_in_order(site):
    fields = [("X-B", "1"), ("x-A", "2"), ("X-B", "caf\xe9"), ("X-Empty", "")]
    assert headers_of(scope_of(site, fields=fields)) == [
        (b"host", b"test"),
        (b"x-b", b"1"),
        (b"x-a", b"2"),
        (b"x-b", b"caf\xe9"),
        (b"x-empty", b""),
    ]


def test_63b_each_header_is_a_pair_and_the_rest_has_its_types(site):
    scope = scope_of(site)
    assert all(len(pair) == 2 and {type(p) for p in pair} == {bytes} for pair in scope["headers"])
    assert {k: type(scope[k]) for k in ("method", "path", "raw_path", "query_string", "scheme")} == {
        "method": str,
        "path": str,
        "raw_path": bytes,
        "query_string": bytes,
        "scheme": str,
    }
    assert scope["asgi"]["version"].startswith("3.")
    assert scope["asgi"]["spec_version"] >= "2.3"


def test_63c_absolute_form_gives_the_path_and_its_host(site):
    with site.connect() as connection:
        connection.send(b"GET http://inside:81/show_scope?q HTTP/1.1\r\nHost: inside:81\r\n\r\n")
        scope = ast.literal_eval(connection.response().body.decode())
    assert (scope["path"], scope["query_string"]) == ("/show_scope", b"q")
    assert (b"host", b"inside:81") in scope["headers"]


def test_64_state_is_a_shallow_copy_for_each_request(site):
    first, second = site.value("/state"), site.value("/state")
    assert first["number"] == second["number"] == 1
    assert "own" not in second
    assert len(second["shared"]) == len(first["shared"]) + 1


# ---- receive ----


def test_65_receive_after_the_body_waits(site):
    target, key = script("receive", "wait", start(), body(b"ok"))
    assert site.get(target, method="POST", body=b"1234").body == b"ok"
    message, waited, *_ = site.ended(key)
    assert (message["type"], message["body"]) == ("http.request", b"1234")
    assert not message.get("more_body")
    assert "TimeoutError" in waited


def test_65b_a_request_without_a_body_has_one_empty_message(site):
    target, key = script("receive", "wait", start(), body(b"ok"))
    assert site.get(target).body == b"ok"
    message, waited, *_ = site.ended(key)
    assert (message["type"], message.get("body", b"")) == ("http.request", b"")
    assert not message.get("more_body") and "TimeoutError" in waited


@pytest.mark.parametrize("before", [["receive"], []], ids=["read", "unread"])
def test_66_receive_after_the_answer_is_a_disconnect(site, before):
    target, key = script(*before, start(), body(b"ok"), "drain", "receive")
    assert site.get(target, method="POST", body=b"1234").body == b"ok"
    *_, first, second, end = site.ended(key)
    assert first == second == {"type": "http.disconnect"}


def test_67_a_client_that_leaves_is_a_disconnect_soon(site):
    target, key = script("receive", start(), body(b"some", True), "receive")
    with site.connect() as connection:
        connection.request("GET", target)
        while b"some" not in connection.buffer:
            assert connection.receive()
        assert "end" not in site.notes(key)
    assert site.ended(key)[-2] == {"type": "http.disconnect"}


def test_67b_so_is_one_that_leaves_before_the_answer(site):
    target, key = script("receive", "receive", "receive")
    with site.connect() as connection:
        connection.request("GET", target)
        until(lambda: site.notes(key), "the request")
    assert site.ended(key)[1:3] == [{"type": "http.disconnect"}] * 2


def test_67c_or_in_the_middle_of_its_body(site):
    with site.connect() as connection:
        connection.send(b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 9999\r\n\r\nabc")
        until(lambda: site.value("/upload/seen").get("bytes") == 3, "the first piece")
    until(lambda: site.value("/upload/seen")["left"], "the disconnect")


def test_68_send_after_a_disconnect_raises_an_os_error(site):
    target, key = script("drain", *[body(b"x", True)] * 3)
    with site.connect() as connection:
        connection.request("GET", target)
        until(lambda: site.notes(key), "the request")
    _, _, *sends, end = site.ended(key)
    assert all("OSError" in note for note in sends), sends


# ---- send ----


@pytest.mark.parametrize(
    "wrong",
    [
        body(b"early"),
        {"type": "http.response.nonsense"},
        {"type": "websocket.accept"},
        {"status": 200},
        {"type": 5},
        {"type": None},
        [],
        None,
        {"type": "http.response.start"},
        {"type": "http.response.start", "status": "200"},
        {"type": "http.response.start", "status": 99},
        {"type": "http.response.start", "status": 200, "headers": 5},
        start(headers=[("name", "text")]),
        start(headers=[(b"name",)]),
        start(headers=[b"x-one"]),
    ],
    ids=repr,
)
def test_69_a_wrong_message_raises_in_the_application(site, wrong):
    target, key = script(wrong, start(), body(b"right"))
    assert site.get(target).body == b"right"
    assert refused(site.ended(key)[0])


@pytest.mark.parametrize(
    "wrong", [start(), {"type": "http.response.body", "body": "text"}, {"type": "nonsense"}], ids=repr
)
def test_69b_so_does_one_out_of_turn(site, wrong):
    target, key = script(start(), wrong, body(b"a", True), wrong, body(b"b"), wrong)
    assert site.get(target).body == b"ab"
    notes = site.ended(key)
    assert [refused(note) for note in notes[:-1]] == [False, True, False, True, False, True]


def test_70_unknown_keys_are_ignored_and_absent_ones_have_defaults(site):
    head = {"type": "http.response.start", "status": 201, "colour": "red"}
    target, key = script(head, {"type": "http.response.body", "extra": 1})
    answer = site.get(target)
    assert (answer.status, answer.body) == (201, b"")
    assert site.ended(key) == ["sent", "sent", "end"]


@pytest.mark.parametrize("kind", ["generator", "tuple", "lists", "iterator", "dict_items"])
def test_71_headers_may_be_any_iterable(site, kind):
    answer = site.get(f"/header_kinds?{kind}")
    sent = [(name.lower(), value) for name, value in answer.fields if name.lower()[:2] == "x-"]
    last = [("x-one", "1"), ("x-two", "2"), ("x-one", "3")]
    assert (answer.body, [pair for pair in sent if pair[0] != "x-request-id"]) == (b"ok", last)


def test_71b_a_body_may_be_any_bytes_and_headers_stay_apart(site):
    cookies = [(b"set-cookie", b"a=1"), (b"set-cookie", b"b=2, or so")]
    target, key = script(start(headers=cookies), body(bytes(range(256))))
    answer = site.get(target)
    assert (answer.body, values(answer, "set-cookie")) == (bytes(range(256)), ["a=1", "b=2, or so"])


def test_71c_date_and_server_are_not_doubled(site):
    mine = [(b"date", b"Thu, 01 Jan 1970 00:00:00 GMT"), (b"server", b"mine")]
    answer = site.get(script(start(headers=mine), body(b"x"))[0])
    assert values(answer, "date") == ["Thu, 01 Jan 1970 00:00:00 GMT"]
    assert values(answer, "server") == ["mine"]
    assert len(values(site.get("/hello"), "date")) == 1


@pytest.mark.parametrize("more", [[], [length(3)]], ids=["alone", "with length"])
def test_72_transfer_encoding_is_the_servers(site, more):
    headers = [(b"transfer-encoding", b"chunked"), *more]
    with site.connect() as connection:
        target, _ = script(start(headers=headers), body(b"a", True), body(b"bc"))
        answer = connection.ask("GET", target)
        assert answer.body == b"abc"
        framings = values(answer, "transfer-encoding") + values(answer, "content-length")
        assert framings in (["chunked"], ["3"])
        assert connection.ask("GET", "/hello").body == b"hello\n"


@pytest.mark.parametrize("pieces", [[b"abcdefghi"], [b"ab", b"cdefg"]], ids=["once", "streamed"])
def test_73_a_body_longer_than_its_length_raises_and_is_not_sent(site, pieces):
    steps = [body(piece, True) for piece in pieces]
    target, key = script(start(headers=[length(4)]), *steps)
    with site.connect() as connection:
        connection.request("GET", target)
        connection.request("GET", "/hello")
        answer = connection.response()
        if answer.status == 200:
            assert answer.body == b"abcd"[: len(answer.body)]
        if len(answer.body) == 4 or answer.status != 200:
            assert connection.response().body == b"hello\n"
    assert refused(site.ended(key)[-2])


def test_73b_a_body_shorter_than_its_length_is_cut(site):
    target, key = script(start(headers=[length(10)]), body(b"abc", True), body())
    with site.connect() as connection:
        answer = connection.ask("GET", target)
        assert (answer.body, answer.is_cut) == (b"abc", True)
        assert connection.is_closed()


@pytest.mark.parametrize(
    "header",
    [
        (b"x-a", b"1\r\nX-Evil: 1"),
        (b"x-a", b"1\nX-Evil: 1"),
        (b"x-a", b"1\r"),
        (b"x-a", b"1\0"),
        (b"x-a\r\nX-Evil", b"1"),
        (b"x-a: x", b"1"),
        (b"x a", b"1"),
        (b"", b"1"),
    ],
    ids=repr,
)
def test_74_forbidden_characters_in_a_header_raise(site, header):
    target, key = script(start(headers=[header]), start(500), body(b"refused"))
    answer = site.get(target)
    assert (answer.status, values(answer, "x-evil"), values(answer, "x-a")) == (500, [], [])
    assert refused(site.ended(key)[0])


def test_75_an_exception_before_the_start_is_500_and_a_traceback(site):
    target, key = script("raise")
    answer = site.get(target)
    assert answer.status == 500 and b"raised" not in answer.body
    site.wait_log(f"RuntimeError: raised by {key}")


def test_75b_an_exception_after_the_start_is_no_complete_answer(site):
    with site.connect() as connection:
        answer = connection.ask("GET", script(start(), "raise")[0])
        assert answer.status == 500 or answer.is_cut
    with site.connect() as connection:
        answer = connection.ask("GET", script(start(), body(b"first", True), "raise")[0])
        assert (answer.status, answer.body, answer.is_cut) == (200, b"first", True)
        assert connection.is_closed()


def test_75c_an_exception_after_the_answer_spoils_nothing(site):
    target, key = script(start(), body(b"all"), "raise")
    with site.connect() as connection:
        assert connection.ask("GET", target).body == b"all"
        assert connection.ask("GET", "/hello").body == b"hello\n"
    site.wait_log(f"raised by {key}")


def test_76_returning_without_an_answer_is_500(site):
    with site.connect() as connection:
        assert connection.ask("GET", script()[0]).status == 500
    assert site.get(script("receive")[0]).status == 500


def test_77_returning_in_the_middle_of_the_body_cuts_it(site):
    with site.connect() as connection:
        answer = connection.ask("GET", script(start(), body(b"first", True))[0])
        assert (answer.body, answer.is_cut) == (b"first", True)
        assert connection.is_closed()
    answer = site.get(script(start())[0])
    assert answer.status == 500 or answer.is_cut


@pytest.mark.parametrize("kind", ["exit", "interrupt", "base", "cancelled"])
def test_77b_base_exceptions_are_500_and_the_process_lives(site, kind):
    pid = site.value("/process")["pid"]
    assert site.get(f"/exits?{kind}").status == 500
    assert site.value("/process")["pid"] == pid


# ---- streams ----


def test_78_an_event_is_at_the_client_before_the_next_is_made(site):
    with site.connect() as connection:
        connection.request("GET", f"/events?{id(connection)}")
        while b"data: 1\n\n" not in connection.buffer:
            assert connection.receive()
        assert b"data: 2" not in connection.buffer
        site.get(f"/events/go?{id(connection)}")
        assert connection.response().body == b"data: 1\n\ndata: 2\n\n"


def test_78b_many_pieces_arrive_whole(site):
    pieces = [b"%d," % n for n in range(80)]
    answer = site.get(script(start(), *[body(p, True) for p in pieces], body())[0])
    assert answer.body == b"".join(pieces)


def memory_mib(pid, name="VmRSS"):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return next(int(line.split()[1]) for line in f if line.startswith(name)) / 1024


def settled(read):
    """What `read` returns once it has stopped changing."""
    seen = []

    def stands():
        seen.append(read())
        time.sleep(0.1)
        return len(seen) > 5 and len(set(seen[-5:])) == 1

    until(stands, "a value that stays")
    return seen[-1]


def test_79_a_slow_reader_holds_the_application_back(site):
    pids = [site.site.proxy(), *site.site.workers()]
    assert len(site.get("/download?8").body) == 8 * MIB  # what buffers there are have been used
    before = [memory_mib(pid) for pid in pids]
    with site.connect(receive_buffer=65536) as connection:
        connection.request("GET", "/download?512")
        connection.receive()
        sent = settled(lambda: site.value("/download/sent"))
        grown = [memory_mib(pid) - mib for pid, mib in zip(pids, before)]
        assert sent < 16 * MIB
        assert max(grown) < GROWTH_MIB, grown


def test_79b_an_application_that_does_not_read_holds_the_client_back(site):
    pids = [site.site.proxy(), *site.site.workers()]
    before = [memory_mib(pid) for pid in pids]
    with site.connect() as connection:
        size = 256 * MIB
        connection.send(f"POST /upload?pause HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n".encode())
        connection.socket.settimeout(1)
        sent = 0
        try:
            while sent < size:
                sent += connection.socket.send(b"x" * MIB)
        except TimeoutError:
            pass
        grown = [memory_mib(pid) - mib for pid, mib in zip(pids, before)]
        assert sent < 32 * MIB
        assert max(grown) < GROWTH_MIB, grown
    site.get("/upload/go")
    until(lambda: site.value("/upload/seen")["left"], "the disconnect")


def test_79c_an_upload_is_streamed(site):
    """The application sees the first half before the client has sent the second."""
    half = os.urandom(300_000)
    with site.connect() as connection:
        head = f"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: {2 * len(half)}\r\n\r\n"
        connection.send(head.encode() + half)
        until(lambda: site.value("/upload/seen").get("bytes") == len(half), "the first half")
        connection.send(half)
        assert connection.response().body.split()[0] == b"600000"
    assert site.value("/upload/seen")["pieces"] > 1


def test_79d_so_is_a_chunked_one(site):
    with site.connect() as connection:
        connection.send(b"POST /upload HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        connection.send(b"3\r\nabc\r\n")
        until(lambda: site.value("/upload/seen").get("bytes") == 3, "the first chunk")
        connection.send(chunked(b"de"))
        assert connection.response().body.split()[0] == b"5"


@pytest.mark.parametrize("size", [0, 1, 65536, 5 * MIB])
def test_79e_bodies_arrive_whole(site, size):
    data = os.urandom(size)
    answer = site.get("/upload", method="POST", body=data)
    assert answer.body.decode() == f"{size} {hashlib.sha256(data).hexdigest()}"
    assert site.value("/upload/seen")["largest"] <= 256 * 1024


def test_80_100_continue_comes_with_the_first_receive(site):
    head = b"Host: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"
    with site.connect() as connection:
        connection.send(b"POST /upload HTTP/1.1\r\n" + head)
        assert connection.head().status == 100
        connection.send(b"1234")
        assert connection.response().body.startswith(b"4 ")


def test_80b_and_does_not_come_when_nothing_is_received(site):
    head = b"Host: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"
    with site.connect() as connection:
        connection.send(b"POST /hello HTTP/1.1\r\n" + head)
        answer = connection.response()
    assert (answer.status, answer.body, answer.informs) == (200, b"hello\n", [])


PIECES = [[body(b"hello")], [body(b"he", True), body(b"llo")]]


@pytest.mark.parametrize("pieces", PIECES, ids=["once", "streamed"])
def test_81_head_has_no_body(site, pieces):
    with site.connect() as connection:
        answer = connection.ask("HEAD", script(start(headers=[length(5)]), *pieces)[0])
        assert values(answer, "content-length") == ["5"]
        assert connection.ask("GET", "/hello").body == b"hello\n"


@pytest.mark.parametrize("status", [204, 304])
@pytest.mark.parametrize("pieces", PIECES, ids=["once", "streamed"])
def test_81b_204_and_304_have_no_body(site, status, pieces):
    with site.connect() as connection:
        answer = connection.ask("GET", script(start(status), *pieces)[0])
        assert (answer.status, values(answer, "transfer-encoding")) == (status, [])
        assert connection.ask("GET", "/hello").body == b"hello\n"


def test_82_pipelined_requests_are_answered_in_order(site):
    targets = ["/slow?0.2", "/hello", "/slow?0.1", "/hello", "/process"]
    with site.connect() as connection:
        for target in targets:
            connection.request("GET", target)
        bodies = [connection.response().body for _ in targets]
    assert bodies[:4] == [b"done", b"hello\n", b"done", b"hello\n"] and b"pid" in bodies[4]


@pytest.mark.parametrize("size", [10, 200_000, 3_000_000])
def test_82b_an_unread_body_does_not_disturb_the_next_request(site, size):
    with site.connect() as connection:
        connection.request("POST", "/hello", body=b"x" * size)
        assert connection.response().body == b"hello\n"
        try:
            answer = connection.ask("GET", "/hello")
        except (ConnectionError, TimeoutError):
            return  # closed instead
        assert answer.body == b"hello\n"


# ---- extensions ----


def test_89_only_what_works_is_advertised(site):
    always = {"http.response.pathsend", "http.response.early_hint"}
    assert set(scope_of(site)["extensions"]) == always
    fields = [("Connection", "TE"), ("TE", "trailers")]
    assert set(scope_of(site, fields=fields)["extensions"]) == always | {"http.response.trailers"}


def test_early_hints_come_before_the_answer(site):
    answer = site.get("/early_hint")
    assert (answer.status, answer.body) == (200, b"hinted")
    assert [inform.status for inform in answer.informs] == [103]
    links = ", ".join(values(answer.informs[0], "link"))
    assert links == "</style.css>; rel=preload; as=style, </app.js>; rel=preload"


def test_early_hints_are_not_for_http_1_0(site):
    with site.connect() as connection:
        connection.send(b"GET /early_hint HTTP/1.0\r\nHost: a\r\n\r\n")
        answer = connection.response()
    assert (answer.body, answer.informs) == (b"hinted", [])


def lines_after(connection, target, fields=()):
    """All that comes for a request that closes the connection."""
    connection.request("GET", target, [*fields, ("Connection", "TE, close" if fields else "close")])
    while connection.receive():
        pass
    return connection.buffer.lower()


@pytest.mark.parametrize("query", ["", "?late"])
def test_trailers_reach_a_client_that_takes_them(site, query):
    with site.connect() as connection:
        seen = lines_after(connection, f"/trailers{query}", [("TE", "trailers")])
    more = b"x-more: yes\r\n" if query else b""
    assert b"\r\n6\r\nsummed\r\n" in seen
    assert seen.endswith(b"\r\n0\r\nx-sum: 42\r\n" + more + b"\r\n")


def test_trailers_are_left_out_for_one_that_does_not(site):
    with site.connect() as connection:
        seen = lines_after(connection, "/trailers")
    assert b"summed" in seen and b"x-sum: 42" not in seen


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    (folder / "small").write_bytes(b"0123456789")
    (folder / "empty").write_bytes(b"")
    (folder / "large").write_bytes(os.urandom(3 * MIB))
    return folder


@pytest.mark.parametrize("how", ["", "&chunked"])
@pytest.mark.parametrize("name", ["small", "empty", "large"])
def test_pathsend_sends_the_file(site, files, name, how):
    with site.connect() as connection:
        answer = connection.ask("GET", f"/pathsend?{quote(str(files / name) + how)}")
        assert (answer.status, answer.is_cut) == (200, False)
        assert answer.body == (files / name).read_bytes()
        answer = connection.ask("HEAD", f"/pathsend?{quote(str(files / name))}")
        assert values(answer, "content-length") == [str(len((files / name).read_bytes()))]
        assert connection.ask("GET", "/hello").body == b"hello\n"


def test_pathsend_of_a_file_that_is_not_there_is_no_complete_answer(site, files):
    answer = site.get(f"/pathsend?{quote(str(files / 'absent'))}&9")
    assert answer.status >= 500 or answer.is_cut
    answer = site.get(f"/pathsend?{quote(str(files / 'small'))}&99")
    assert answer.status >= 500 or answer.is_cut


def test_pathsend_by_the_proxy_is_the_same_file(own_site, files):
    site = own_site("--env", f"BANYAN_SENDFILE_ROOT={files}")
    for _ in range(3):
        answer = site.get(f"/pathsend?{quote(str(files / 'large'))}")
        assert answer.body == (files / "large").read_bytes()


# ---- tasks, contexts, loops ----


@pytest.mark.parametrize("where", ["sleep", "receive"])
def test_90_the_deadline_cancels_the_task_with_its_finally(deadline_site, where):
    answer = deadline_site.get(f"/cancel?{where}")
    assert answer.status == 504
    wanted = [[where, "cancelled"], [where, "finally"]]
    until(lambda: [s for s in deadline_site.value("/cancel/seen") if s[0] == where] == wanted)
    assert "Traceback" not in deadline_site.log()


@pytest.fixture(scope="module")
def deadline_site(module_site_of):
    return AsgiSite(module_site_of, "--request-timeout", "1", "--timeout", "2")


def test_91_context_variables_are_the_requests_own(site):
    with site.connect() as first, site.connect() as second:
        for _ in range(3):
            first.request("GET", "/context?a")
            second.request("GET", "/context?b")
            for connection in (first, second):
                assert connection.response().body == b"['fresh', True, True]"


def test_the_application_runs_in_the_main_thread_on_the_loop_asked_for(site):
    where = site.value("/process")
    wanted = {"asyncio": ["asyncio"], "uvloop": ["uvloop"]}
    argv = site.process.argv
    loop = argv[argv.index("--loop") + 1] if "--loop" in argv else None
    assert where["main"] is True and where["loop"] in wanted.get(loop, ["asyncio", "uvloop"])


def test_signals_subprocesses_and_threads_work_as_asyncio_has_them(site):
    assert site.value("/main_thread") == [b"42", "seen"]


def test_log_lines_carry_the_request_id_across_waits_and_tasks(site):
    answer = site.get("/logs?raise")
    assert answer.status == 500 and b"exploded" not in answer.body
    site.wait_log("ValueError: caf\xe9 exploded")
    [line] = [line for line in site.log().splitlines() if "ValueError: caf\xe9 exploded" in line][-1:]
    log = [row for row in site.log().splitlines() if "warned" in row][-2:]
    ids = [set(row.split()) for row in (line, *log)]
    assert [word for word in set.intersection(*ids) if len(word) >= 16], (line, log)


# ---- how many at once ----


def test_hundreds_wait_together(site):
    connections = [site.connect() for _ in range(200)]
    for connection in connections:
        connection.request("GET", "/together?200&60")
    assert {c.response().body for c in connections} == {b"200"}
    for connection in connections:
        connection.close()


def test_concurrency_bounds_how_many_run(own_site):
    site = own_site("--concurrency", "3")
    connections = [site.connect() for _ in range(12)]
    for connection in connections:
        connection.request("GET", "/together?4&0.3")
    assert max(int(c.response().body) for c in connections) == 3


def test_a_stuck_loop_is_noticed_and_its_process_replaced(own_site):
    site = own_site("--timeout", "1")
    pid = site.value("/process")["pid"]
    with site.connect() as stuck:
        stuck.request("GET", "/slow?60&stuck")
        until(lambda: pid not in site.site.workers(), "the end of the stuck process")
        assert stuck.response().status >= 500
    until(lambda: site.value("/process")["pid"] != pid)


def test_waiting_is_not_being_stuck(own_site):
    site = own_site("--timeout", "0.5")
    assert site.get("/slow?2").body == b"done"


# ---- interfaces ----

INTERFACES = [
    ("apps.asgi.dispatch", "auto"),
    ("apps.asgi.dispatch", "asgi"),
    ("apps.asgi_kinds:instance", "auto"),
    ("apps.asgi_kinds:partial", "auto"),
    ("apps.asgi_kinds:factory()", "auto"),
    ("apps.asgi_kinds:bound", "auto"),
    ("apps.asgi_kinds:plain", "asgi"),
    ("apps.asgi_kinds:Asgi2", "auto"),
    ("apps.asgi_kinds:Asgi2", "asgi2"),
    ("apps.hello", "auto"),
    ("apps.hello", "wsgi"),
]


@pytest.mark.parametrize(("application", "interface"), INTERFACES)
def test_the_interface_is_found_or_named(own_site, application, interface):
    site = own_site("--interface", interface, application=application)
    assert site.get("/").body == b"hello\n"


def test_without_uvloop_there_is_asyncio(own_site, start, tmp_path):
    (tmp_path / "uvloop.py").write_text("raise ImportError('no uvloop here')")
    hide = ["--pythonpath", str(tmp_path)]
    assert own_site(*hide).value("/process")["loop"] == "asyncio"
    bind = f"127.0.0.1:{free_port()}"
    options = ["--bind", bind, "--chdir", HERE, "--python", PYTHON, "--loop", "uvloop", *hide]
    process = start(program("banyan"), "serve", *options, "apps.asgi.dispatch")
    assert process.wait() not in (0, 2)
    assert "uvloop" in process.log()


def test_an_unknown_loop_or_interface_is_refused(start):
    for option in ("--loop", "--interface", "--lifespan"):
        process = start(program("banyan"), "serve", option, "nonsense", "apps.hello", cwd=HERE)
        assert process.wait() == 2 and option in process.log()


# ---- ends ----


@pytest.mark.parametrize("host", HOSTS, ids=" ".join)
def test_a_running_request_is_finished_on_sigterm(own_site, host):
    site = own_site(*host)
    with site.connect() as connection:
        connection.request("GET", "/together?2&1")
        until(lambda: site.get("/hello").body == b"hello\n")
        site.process.signal(signal.SIGTERM)
        assert connection.response().body == b"1"
    assert site.process.wait() == 0


def test_max_requests_replaces_the_process_and_loses_none(own_site):
    site = own_site("-w", "2", "--max-requests", "20")
    pids = set()
    until(lambda: pids.add(site.value("/process")["pid"]) or len(pids) > 4)


def test_max_age_replaces_the_process_and_loses_none(own_site):
    site = own_site("--max-age", "1")
    pids = set()
    until(lambda: pids.add(site.value("/process")["pid"]) or len(pids) > 2)


def test_preloaded_processes_serve(own_site):
    site = own_site("-w", "2", "--preload")
    until(lambda: site.log().count(" is up (pid ") == 2, "the second process")
    assert site.get("/hello").body == b"hello\n"
