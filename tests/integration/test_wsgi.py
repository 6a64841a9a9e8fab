# SPDX-License-Identifier: MIT
"""What PEP 3333 and its users expect of a server, point by point, over real processes. The
applications are apps/*.py, behind apps/dispatch.py, in both hosts of Python."""

import ast
import json
import os
import re
import signal
import time
from urllib.parse import quote

import pytest
from conftest import HERE, Connection, app_master, free_port, program, until


# The one that the app server was built for.
PYTHON = os.environ.get("BANYAN_TEST_PYTHON", "/usr/bin/python3")


class Site:
    """`banyan serve` with the applications of this directory."""

    def __init__(self, start, *options, application="apps.dispatch", env=None):
        self.address = ("127.0.0.1", free_port())
        bind = "{}:{}".format(*self.address)
        self.process = start(
            *(program("banyan"), "serve", "--bind", bind, "--chdir", HERE),
            *("--python", PYTHON, *options, application),
            env={"PYTHONDONTWRITEBYTECODE": "1", **(env or {})},
        )
        self.process.wait_log("is ready on")
        self.process.wait_log("listening on")
        self.log = self.process.log
        assert self.get("/hello").status == 200

    def connect(self):
        return Connection(self.address)

    def get(self, target, method="GET", fields=(), body=None):
        with self.connect() as connection:
            return connection.ask(method, target, fields, body)

    def wait_log(self, text):
        self.process.wait_log(text)


def values(response, name):
    return [value for key, value in response.fields if key.lower() == name.lower()]


@pytest.fixture(scope="module", params=["extension", "embedded"])
def site(request, start_for_module):
    host = ["--embedded"] if request.param == "embedded" else []
    site = Site(start_for_module, "-w", "1", "--threads", "4", *host)
    yield site
    assert site.process.stop() == 0


@pytest.fixture
def own_site(start):
    """Starts a site with the options given."""
    return lambda *options, **more: Site(start, *options, **more)


def environ_of(site, target="/show_environ", **more):
    return json.loads(site.get(target, **more).body)


def value_of(site, key, target="/show_environ", **more):
    kind, shown = environ_of(site, target, **more)[key]
    return kind, ast.literal_eval(shown)


def answer_of(site, status="200 OK", length="", chunks="", form="list", **more):
    query = quote(f"{status}|{length}|{chunks}|{form}")
    return site.get(f"/answer?{query}", **more)


def ask_together(site, count, target):
    connections = [site.connect() for _ in range(count)]
    for connection in connections:
        connection.request("GET", target)
    return connections


# ---- environ ----


def test_01_environ_is_a_fresh_builtin_dict(site):
    for _ in range(3):
        assert environ_of(site)["type(environ)"] == ["dict", "False"]


def test_02_cgi_values_are_native_str(site):
    for key, (kind, _) in environ_of(site).items():
        if key.isupper():
            assert kind == "str", key


def test_03_path_info_is_percent_decoded_bytes_as_latin_1(site):
    _, path = value_of(site, "PATH_INFO", "/show_environ/caf%C3%A9/%FF%2541")
    assert path.encode("latin-1") == b"/show_environ/caf\xc3\xa9/\xff%41"


def test_04_query_string_stays_encoded(site):
    target = "/show_environ?a=%20b&c=%C3%A9+d"
    assert value_of(site, "QUERY_STRING", target) == ("str", "a=%20b&c=%C3%A9+d")


def test_04b_raw_bytes_in_the_query_are_latin_1_or_refused(site):
    answer = site.get("/show_environ?a=\xe9")
    if answer.status == 200:
        assert ast.literal_eval(json.loads(answer.body)["QUERY_STRING"][1]) == "a=\xe9"
    else:
        assert answer.status == 400


def test_05_obs_text_in_a_header_is_latin_1(site):
    fields = [("X-Cafe", "caf\xe9")]
    assert value_of(site, "HTTP_X_CAFE", fields=fields) == ("str", "caf\xe9")


def test_06_duplicate_headers_are_joined(site):
    fields = [("X-A", "1"), ("Accept", "text/html"), ("X-A", "2"), ("Accept", "a/b")]
    assert value_of(site, "HTTP_X_A", fields=fields)[1].replace(" ", "") == "1,2"
    accept = value_of(site, "HTTP_ACCEPT", fields=fields)[1]
    assert accept.replace(" ", "") == "text/html,a/b"


def test_07_duplicate_cookies_are_joined_by_semicolon(site):
    fields = [("Cookie", "a=1"), ("Cookie", "b=2")]
    assert value_of(site, "HTTP_COOKIE", fields=fields) == ("str", "a=1; b=2")


def test_08_content_type_and_length_have_no_http_twin(site):
    fields = [("Content-Type", "text/x")]
    environ = environ_of(site, method="POST", fields=fields, body=b"1234")
    assert environ["CONTENT_TYPE"] == ["str", "'text/x'"]
    assert environ["CONTENT_LENGTH"] == ["str", "'4'"]
    assert not [key for key in environ if key.startswith("HTTP_CONTENT")]


def test_09_an_underscore_does_not_spoof_a_dash(site):
    fields = [("X_Foo", "spoofed"), ("X-Foo", "true")]
    assert value_of(site, "HTTP_X_FOO", fields=fields) == ("str", "true")
    assert "HTTP_X_FOO" not in environ_of(site, fields=[("X_Foo", "spoofed")])


def test_09_underscores_are_kept_where_the_operator_says_so(own_site):
    site = own_site("-w", "1", "--underscore-headers", "keep")
    assert value_of(site, "HTTP_X_FOO", fields=[("X_Foo", "a")]) == ("str", "a")
    for fields in ([("X_Foo", "b"), ("X-Foo", "a")], [("X-Foo", "a"), ("X_Foo", "b")]):
        assert value_of(site, "HTTP_X_FOO", fields=fields) == ("str", "a")
    forged = [("X_Forwarded_Proto", "https"), ("X_Real_IP", "10.0.0.1")]
    environ = environ_of(site, fields=forged)
    assert environ["HTTP_X_FORWARDED_PROTO"] == ["str", "'http'"]
    assert environ["HTTP_X_REAL_IP"] == ["str", "'127.0.0.1'"]


def test_10_proxy_does_not_become_http_proxy(site):
    assert "HTTP_PROXY" not in environ_of(site, fields=[("Proxy", "http://evil/")])


def test_11_server_protocol_is_the_clients(site):
    assert value_of(site, "SERVER_PROTOCOL") == ("str", "HTTP/1.1")
    with site.connect() as connection:
        connection.send(b"GET /show_environ HTTP/1.0\r\nHost: a\r\n\r\n")
        environ = json.loads(connection.response().body)
    assert environ["SERVER_PROTOCOL"] == ["str", "'HTTP/1.0'"]


def test_12_script_name_and_path_info_recombine(site):
    environ = environ_of(site, "/show_environ/x")
    assert environ["SCRIPT_NAME"] == ["str", "''"]
    assert environ["PATH_INFO"] == ["str", "'/show_environ/x'"]


@pytest.mark.parametrize(
    ("workers", "threads", "truth"),
    [(1, 1, (False, False)), (1, 4, (True, False)), (2, 1, (False, True))],
)
def test_13_multithread_and_multiprocess_are_truthful(own_site, workers, threads, truth):
    site = own_site("-w", str(workers), "--threads", str(threads))
    environ = environ_of(site)
    flags = [environ[f"wsgi.{key}"][1] for key in ("multithread", "multiprocess")]
    assert (flags, environ["wsgi.run_once"][1]) == ([str(t) for t in truth], "False")


def test_14_url_scheme_is_not_the_clients_to_choose(site):
    fields = [("X-Forwarded-Proto", "https"), ("X-Forwarded-Ssl", "on")]
    assert value_of(site, "wsgi.url_scheme", fields=fields) == ("str", "http")


def test_14b_a_trusted_proxy_chooses_the_url_scheme(own_site):
    site = own_site("-w", "1", "--trusted-proxies", "127.0.0.1")
    fields = [("X-Forwarded-Proto", "https"), ("X-Forwarded-For", "203.0.113.7")]
    assert value_of(site, "wsgi.url_scheme", fields=fields) == ("str", "https")
    assert value_of(site, "REMOTE_ADDR", fields=fields) == ("str", "203.0.113.7")


def test_15_remote_addr_and_port(site):
    with site.connect() as connection:
        environ = json.loads(connection.ask("GET", "/show_environ").body)
        port = connection.socket.getsockname()[1]
    assert environ["REMOTE_ADDR"] == ["str", "'127.0.0.1'"]
    assert environ["REMOTE_PORT"] == ["str", repr(str(port))]


def test_16_absolute_form_gives_path_and_host(site):
    with site.connect() as connection:
        connection.send(
            b"GET http://inside.example:81/show_environ?q HTTP/1.1\r\n"
            b"Host: inside.example:81\r\n\r\n"
        )
        environ = json.loads(connection.response().body)
    assert environ["PATH_INFO"] == ["str", "'/show_environ'"]
    assert environ["HTTP_HOST"] == ["str", "'inside.example:81'"]
    assert environ["SERVER_NAME"] == ["str", "'inside.example'"]
    assert environ["SERVER_PORT"] == ["str", "'81'"]


def test_17_input_terminated_is_set(site):
    assert environ_of(site)["wsgi.input_terminated"] == ["bool", "True"]


def test_18_version_and_errors(site):
    assert environ_of(site)["wsgi.version"] == ["tuple", "(1, 0)"]
    answer = site.get("/errors")
    assert answer.status == 200
    site.wait_log("printed")
    request_id = answer.body.decode()
    for text in ("one line", "second line", "rest", "printed", "demo: warned about it"):
        assert re.search(rf"{request_id}.* {text}", site.log()), text
    assert "not shown" not in site.log()


def test_19_the_processs_environment_and_the_requests_are_apart(site):
    fields = [("User-Agent", "x"), ("X-From-Os", "request")]
    assert site.get("/os_environ", fields=fields).body == b"(['HTTP_X_FROM_OS'], [])"
    assert value_of(site, "HTTP_X_FROM_OS", fields=fields) == ("str", "request")
    assert "HTTP_X_FROM_OS" not in environ_of(site)


# ---- wsgi.input ----

LINES = b"ab\ncd\n\nefg"


def reads(site, script, body=LINES, **more):
    answer = site.get(f"/read_body?{script}", method="POST", body=body, **more)
    return ast.literal_eval(answer.body.decode())


def test_20_read_with_and_without_size(site):
    assert reads(site, "read") == [LINES]
    assert reads(site, "read,-1") == [LINES]
    assert reads(site, "read,4;read") == [LINES[:4], LINES[4:]]
    assert reads(site, "read,4;read,-1") == [LINES[:4], LINES[4:]]


def test_21_readline_keeps_the_newline(site):
    assert reads(site, ";".join(["readline"] * 6)) == [
        b"ab\n",
        b"cd\n",
        b"\n",
        b"efg",
        b"",
        b"",
    ]


def test_22_readline_honours_its_size(site):
    assert reads(site, "readline,1;readline,9;readline,0") == [b"a", b"b\n", b""]


def test_23_readlines_and_iteration(site):
    lines = [b"ab\n", b"cd\n", b"\n", b"efg"]
    assert reads(site, "readlines") == [lines]
    assert reads(site, "readlines,4;list") == [lines[:2], lines[2:]]
    assert reads(site, "list") == [lines]


def test_24_reading_past_the_end_never_blocks(site):
    with site.connect() as connection:
        # The next request is in the socket's buffer behind the body.
        request = b"POST /read_body?read,3;read;read;read,5;readline HTTP/1.1\r\n"
        request += b"Host: a\r\nContent-Length: 4\r\n\r\n1234"
        connection.send(request + b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n")
        assert connection.response().body == b"[b'123', b'4', b'', b'', b'']"
        assert connection.response().body == b"hello\n"


def test_25_no_body_is_an_empty_body(site):
    answer = site.get("/read_body?read;readline;list")
    assert answer.body == b"[b'', b'', []]"
    assert "CONTENT_LENGTH" not in environ_of(site)


def test_26_a_chunked_body_is_dechunked(site):
    with site.connect() as connection:
        connection.send(b"POST /read_body?read,2;read HTTP/1.1\r\nHost: a\r\n")
        connection.send(b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        time.sleep(0.1)
        connection.send(b"2;x=y\r\nde\r\n0\r\n\r\n")
        assert connection.response().body == b"[b'ab', b'cde']"
        assert connection.ask("GET", "/hello").body == b"hello\n"


@pytest.mark.parametrize("size", [10, 200_000, 3_000_000])
def test_27_an_unread_body_does_not_disturb_the_next_request(site, size):
    with site.connect() as connection:
        head = f"POST /hello HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n"
        connection.send(head.encode() + b"x" * size)
        connection.send(b"GET /show_environ HTTP/1.1\r\nHost: a\r\n\r\n")
        assert connection.response().body == b"hello\n"
        if connection.buffer or connection.receive():
            assert b"REQUEST_METHOD" in connection.response().body


def test_28_a_client_that_leaves_mid_body_is_an_error_not_a_short_body(site):
    with site.connect() as connection:
        connection.send(b"POST /count_body HTTP/1.1\r\nHost: a\r\n")
        connection.send(b"Content-Length: 1000\r\n\r\nabc")
        time.sleep(0.2)
    time.sleep(0.3)
    assert site.get("/count_body").body == b"none"  # gathered: it never came there


def test_28b_the_same_while_the_body_is_streamed(own_site):
    site = own_site("-w", "1", "--request-buffer", "0")
    with site.connect() as connection:
        connection.send(b"POST /count_body HTTP/1.1\r\nHost: a\r\n")
        connection.send(b"Content-Length: 100000\r\n\r\n" + b"x" * 50000)
        until(lambda: site.get("/count_body").body == b"reading")
    until(lambda: b"ClientDisconnected" in site.get("/count_body").body)
    assert "Traceback" not in site.log()


def test_29_100_continue_comes_with_the_first_read(site):
    head = b"Content-Length: 4\r\nExpect: 100-continue\r\n\r\n"
    with site.connect() as connection:
        connection.send(b"POST /read_body?read HTTP/1.1\r\nHost: a\r\n" + head)
        assert connection.head().status == 100
        connection.send(b"1234")
        assert connection.response().body == b"[b'1234']"


def test_29b_100_continue_does_not_come_when_nothing_is_read(site):
    head = b"Content-Length: 4\r\nExpect: 100-continue\r\n\r\n"
    with site.connect() as connection:
        connection.send(b"POST /hello HTTP/1.1\r\nHost: a\r\n" + head)
        answer = connection.response()
    assert (answer.status, answer.body, answer.informs) == (200, b"hello\n", [])


# ---- start_response and the iterable ----


def test_30_start_response_may_come_with_the_first_chunk(site):
    answer = site.get("/lazy_start")
    assert (answer.status, answer.body, values(answer, "x-lazy")) == (200, b"lazy", ["yes"])


def test_31_write_comes_before_the_iterable(site):
    assert site.get("/write").body == b"one two three"


def test_32_a_second_call_without_exc_info_raises(site):
    assert site.get("/twice?plain").body in (b"RuntimeError", b"AssertionError")


def test_33_exc_info_before_the_head_replaces_it(site):
    answer = site.get("/twice?before")
    assert (answer.status, answer.reason, answer.body) == (500, "Oops", b"replaced")
    assert (values(answer, "x-first"), values(answer, "x-second")) == ([], ["2"])


def test_34_exc_info_after_the_head_is_raised_again(site):
    answer = site.get("/twice?after")
    assert (answer.status, answer.body) == (200, b"sent KeyError('mine')")


def test_35_an_empty_first_chunk_does_not_send_the_head(site):
    answer = site.get("/empty_first")
    assert (answer.status, answer.body) == (503, b"changed")


def test_36_start_response_never_called_is_500_and_a_log_line(site):
    answer = site.get("/never_started")
    assert answer.status == 500 and b"body without" not in answer.body
    site.wait_log("before it called start_response")


@pytest.mark.parametrize(
    "what",
    [
        "200 O\r\nX-Evil: 1||",
        "200 O\nX-Evil: 1||",
        "200 O\0K||",
        "200 OK|X-A|1\r\nX-Evil: 1",
        "200 OK|X-A|1\nX-Evil: 1",
        "200 OK|X-A|1\r",
        "200 OK|X-A|1\0",
        "200 OK|X-A\r\nX-Evil|1",
        "200 OK|X-A:|1",
        "200 OK|X A|1",
        "200OK||",
        "99 Low||",
        "abc||",
    ],
)
def test_37_forbidden_characters_are_a_clean_500(site, what):
    answer = site.get(f"/evil?{quote(what)}")
    assert answer.status == 500
    assert not values(answer, "x-evil") and b"accepted" not in answer.body


@pytest.mark.parametrize("kind", ["bytes", "int", "euro", "euro-name", "triple"])
def test_38_headers_of_wrong_types_are_a_clean_500(site, kind):
    assert site.get(f"/wrong_types?{kind}").status == 500


def test_39_hop_by_hop_fields_are_dropped(site):
    with site.connect() as connection:
        answer = connection.ask("GET", "/hop_by_hop")
        assert (answer.status, answer.body, values(answer, "x-a")) == (200, b"body", ["b"])
        assert values(answer, "transfer-encoding") == []
        assert values(answer, "connection") in ([], ["keep-alive"])
        assert connection.ask("GET", "/hello").body == b"hello\n"
    assert "Transfer-Encoding" in site.log()


def test_40_a_status_without_a_reason_is_taken(site):
    assert answer_of(site, "200", chunks="x").status == 200


@pytest.mark.parametrize("form", ["list", "stream"])
@pytest.mark.parametrize("status", ["200 OK", "204 No Content", "304 Not Modified"])
def test_41_an_empty_iterable_sends_status_and_headers(site, status, form):
    answer = answer_of(site, status, form=form)
    assert (f"{answer.status} {answer.reason}", answer.body) == (status, b"")


def test_42_one_part_gets_a_content_length(site):
    answer = answer_of(site, chunks="hello")
    assert values(answer, "content-length") == ["5"]
    assert values(answer, "transfer-encoding") == []


def test_43_without_a_length_http_1_0_is_delimited_by_close(site):
    with site.connect() as connection:
        connection.send(b"GET /lazy_start HTTP/1.0\r\n\r\n")
        answer = connection.response()
        assert (answer.status, answer.body) == (200, b"lazy")
        assert not values(answer, "transfer-encoding") and connection.is_closed()


@pytest.mark.parametrize("form", ["list", "stream"])
def test_44_a_body_shorter_than_its_length_closes_the_connection(site, form):
    with site.connect() as connection:
        connection.send(f"GET /answer?{quote(f'200 OK|10|abc|{form}')} ".encode())
        connection.send(b"HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = connection.response()
        assert (answer.body, answer.is_cut) == (b"abc", True)
        assert connection.is_closed()
    site.wait_log("3 of the 10 bytes")


@pytest.mark.parametrize("form", ["list", "stream"])
def test_45_a_body_longer_than_its_length_is_cut(site, form):
    with site.connect() as connection:
        target = f"/answer?{quote(f'200 OK|4|abc,def,ghi|{form}')}"
        answer = connection.ask("GET", target)
        assert (answer.body, answer.is_cut) == (b"abcd", False)
        assert connection.ask("GET", "/hello").body == b"hello\n"


@pytest.mark.parametrize("kind", ["str", "int", "none"])
def test_46_chunks_that_are_not_bytes_are_500(site, kind):
    assert site.get(f"/not_bytes?{kind}").status == 500


def test_46b_a_later_chunk_that_is_not_bytes_cuts_the_answer(site):
    assert site.get("/not_bytes?late").is_cut


def closes(site):
    count, chunks = site.get("/closing/count").body.decode().split()
    return int(count), int(chunks)


def until_closed(site):
    """The same, once close() was called."""
    seen = [0, 0]

    def closed():
        seen[:] = map(sum, zip(seen, closes(site)))
        return seen[0]

    until(closed, "close()")
    return tuple(seen)


def test_47_close_is_called_once(site):
    closes(site)
    site.get("/closing?normal")
    assert closes(site) == (1, 3)
    assert site.get("/closing?fail").is_cut
    assert closes(site) == (1, 2)
    with site.connect() as connection:
        connection.ask("HEAD", "/closing?normal")
    assert closes(site)[0] == 1


def test_48_an_exception_mid_stream_ends_without_the_last_chunk(site):
    with site.connect() as connection:
        answer = connection.ask("GET", "/mid_stream")
        assert (answer.status, answer.body, answer.is_cut) == (200, b"first", True)
        assert connection.is_closed()
    site.wait_log("RuntimeError: mid-stream")


@pytest.mark.parametrize("form", ["list", "stream"])
def test_49_head_has_no_body_but_its_length(site, form):
    with site.connect() as connection:
        target = f"/answer?{quote(f'200 OK|5|hello|{form}')}"
        answer = connection.ask("HEAD", target)
        assert values(answer, "content-length") == ["5"]
        assert connection.ask("GET", "/hello").body == b"hello\n"


@pytest.mark.parametrize("form", ["list", "stream"])
@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_50_204_and_304_have_no_body(site, status, form):
    with site.connect() as connection:
        target = f"/answer?{quote(f'{status}|5|hello|{form}')}"
        answer = connection.ask("GET", target)
        assert answer.status == int(status[:3])
        assert values(answer, "transfer-encoding") == []
        assert answer.status != 204 or values(answer, "content-length") == []
        assert connection.ask("GET", "/hello").body == b"hello\n"


@pytest.mark.parametrize(
    ("query", "body"),
    [
        ("plain", b"3456789"),  # from the current position
        ("buffered", b"456789"),  # which the descriptor is ahead of
        ("raw", b"0123456789"),
        ("plain&4", b"3456"),  # limited by Content-Length
        ("object", b"not a file"),  # without fileno()
        ("gzip", b"unpacked"),  # with a fileno() that means something else
        ("iterate", b"3456789"),  # as an iterable
        ("large", b"3456789" + b"0123456789" * 19999),
    ],
)
def test_51_file_wrapper(site, query, body):
    answer = site.get(f"/wrapped_file?{query}")
    assert (answer.status, answer.is_cut) == (200, False)
    assert answer.body == body


def test_51b_file_wrapper_closes_the_file_and_bounds_the_length(site):
    before = int(site.get("/wrapped_file/closed").body)
    site.get("/wrapped_file?object")
    assert int(site.get("/wrapped_file/closed").body) == before + 1
    assert site.get("/wrapped_file?plain&9").is_cut
    answer = site.get("/wrapped_file?plain", method="HEAD")
    assert values(answer, "content-length") == ["7"]


def test_51c_a_file_that_the_proxy_may_open_is_the_same_file(own_site):
    site = own_site("-w", "1", env={"BANYAN_SENDFILE_ROOT": "/tmp"})
    for _ in range(3):
        with site.connect() as connection:
            answer = connection.ask("GET", "/wrapped_file?large")
            assert answer.body == b"3456789" + b"0123456789" * 19999
            assert connection.ask("GET", "/hello").body == b"hello\n"


def test_52_each_chunk_is_sent_before_the_next_is_asked_for(site):
    with site.connect() as connection:
        connection.send(b"GET /ticks HTTP/1.1\r\nHost: a\r\n\r\n")
        while b"tick" not in connection.buffer:
            assert connection.receive()
        assert b"tock" not in connection.buffer
        assert connection.response().body == b"ticktock"


def test_53_set_cookie_stays_apart(site):
    answer = site.get("/cookies")
    assert values(answer, "set-cookie") == ["a=1; Path=/", "b=2, or so"]


def test_54_date_and_server_are_not_doubled(site):
    answer = site.get("/cookies")
    assert values(answer, "date") == ["Thu, 01 Jan 1970 00:00:00 GMT"]
    assert values(answer, "server") == ["mine"]
    assert len(values(site.get("/hello"), "date")) == 1


def test_55_pipelined_requests_are_answered_in_order(site):
    targets = ["/ticks", "/hello", "/lazy_start", "/write", "/hello"]
    with site.connect() as connection:
        for target in targets:
            connection.send(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        bodies = [connection.response().body for _ in targets]
    assert bodies == [b"ticktock", b"hello\n", b"lazy", b"one two three", b"hello\n"]


@pytest.mark.parametrize("where", ["call", "iterate"])
@pytest.mark.parametrize("kind", ["exit", "interrupt", "base"])
def test_56_base_exceptions_are_500_and_the_process_lives(site, kind, where):
    pid = site.get("/whoami").body
    assert site.get(f"/exits?{kind}&{where}").status == 500
    assert site.get("/whoami").body == pid


def test_57_iteration_stops_soon_after_the_client_left(site):
    closes(site)
    with site.connect() as connection:
        connection.send(b"GET /closing?endless HTTP/1.1\r\nHost: a\r\n\r\n")
        while b"xxx" not in connection.buffer:
            assert connection.receive()
    count, chunks = until_closed(site)
    assert count == 1 and chunks < 500


def test_58_call_iteration_and_close_share_one_os_thread(site):
    site.get("/threads")
    counts = {}
    for _ in range(20):
        text = site.get("/threads").body.decode()
        seen, name, count, last = re.match(r"(\[.*\]) (\S+) (\d+) (\d+)$", text).groups()
        assert len(set(ast.literal_eval(seen))) == 1 and last == "1"
        assert name.startswith("banyan-")
        assert int(count) > counts.get(name, 0)  # thread-locals survive
        counts[name] = int(count)


# ---- beyond PEP 3333 ----


def test_early_hints_come_before_the_answer(site):
    answer = site.get("/hints")
    assert answer.body == b"hinted"
    assert [inform.status for inform in answer.informs] == [103]
    assert answer.informs[0]["Link"] == "</style.css>; rel=preload"


def test_a_traceback_carries_the_request_id(site):
    answer = site.get("/errors?raise")
    assert answer.status == 500 and b"exploded" not in answer.body
    site.wait_log("ValueError: caf\xe9 exploded")
    line = re.search(r"(\S+) GET /errors\?raise: the application failed", site.log())
    assert re.search(rf"{line[1]} ValueError: caf\xe9 exploded", site.log())


@pytest.mark.parametrize("host", [[], ["--embedded"]])
def test_a_stuck_request_gets_an_exception(own_site, host):
    site = own_site("-w", "1", "--threads", "2", "--timeout", "1", *host)
    pid = site.get("/whoami").body
    assert site.get("/spin?spin&30").status in (500, 504)
    assert site.get("/whoami").body == pid
    site.wait_log("RequestTimeout")
    assert site.get("/spin?spin&0.1").body == b"done"


def test_a_request_stuck_in_c_costs_the_process_and_nobody_elses_answer(own_site):
    site = own_site("-w", "1", "--threads", "4", "--timeout", "1")
    pid = site.get("/whoami").body
    with site.connect() as stuck:
        stuck.send(b"GET /spin?sleep&60 HTTP/1.1\r\nHost: a\r\n\r\n")
        until(lambda: site.get("/whoami").body not in (pid, b""))
        assert stuck.response().status >= 500
    assert "the process is replaced" in site.log()


def test_waiting_for_a_slow_client_is_not_being_stuck(own_site):
    site = own_site("-w", "1", "--threads", "2", "--timeout", "1")
    with Connection(site.address, receive_buffer=65536) as connection:
        connection.request("GET", "/download?16")
        for _ in range(8):
            time.sleep(0.4)
            connection.buffer += connection.socket.recv(262144)
        answer = connection.response()
    assert (len(answer.body), answer.is_cut) == (16 << 20, False), site.log()[-3000:]


@pytest.mark.parametrize("host", [[], ["--preload"], ["--embedded"]], ids=" ".join)
def test_max_requests_replaces_the_process_and_loses_none(own_site, host):
    site = own_site("-w", "2", "--threads", "2", "--max-requests", "20", *host)
    pids = set()
    until(lambda: pids.add(site.get("/whoami").body) or len(pids) > 4)


def test_max_memory_replaces_the_process(own_site):
    site = own_site("-w", "1", "--max-memory", "150M")
    pid = site.get("/whoami").body
    site.get("/whoami?200")
    until(lambda: site.get("/whoami").body != pid)
    assert "--max-memory" in site.log()


def test_max_age_replaces_the_process_and_loses_none(own_site):
    site = own_site("-w", "1", "--max-age", "1")
    began, pids = time.monotonic(), set()

    def count_pids():
        answer = site.get("/whoami")
        assert answer.status == 200
        pids.add(answer.body)
        return len(pids)

    until(lambda: count_pids() > 2)
    assert time.monotonic() - began > 1.5
    assert site.log().count("--max-age is reached") >= 2


def test_threads_grow_on_demand(own_site):
    site = own_site("-w", "1", "--threads", "1", "--threads-max", "4")
    began = time.monotonic()
    connections = ask_together(site, 4, "/spin?sleep&3")
    assert all(c.response().body == b"done" for c in connections)
    assert time.monotonic() - began < 11


def test_a_running_request_is_finished_on_sigterm(own_site):
    site = own_site("-w", "1", "--threads", "2")
    with site.connect() as connection:
        connection.send(b"GET /spin?sleep&1 HTTP/1.1\r\nHost: a\r\n\r\n")
        site.wait_log("runs for")
        site.process.signal(signal.SIGTERM)
        assert connection.response().body == b"done"
    assert site.process.wait() == 0


def test_programs_that_the_application_starts_inherit_nothing_of_ours(site):
    lines = site.get("/child").body.decode().splitlines()
    assert lines[0] == "PYTHONPATH="
    masks = {name: int(mask, 16) for name, mask in map(str.split, lines[1:])}
    term, interrupt, hangup = (1 << (n - 1) for n in (15, 2, 1))
    assert masks["SigBlk:"] == 0
    assert masks["SigIgn:"] & (term | interrupt | hangup) == 0


@pytest.mark.parametrize("host", [[], ["--embedded"]])
@pytest.mark.parametrize("preload", [[], ["--preload"]])
def test_the_end_of_a_process_is_the_applications_too(start, host, preload):
    site = Site(start, "-w", "1", *host, *preload, application="apps.endings")
    assert site.process.stop() == 0
    for text in ("imported", "thread ended", "atexit ran"):
        assert text in site.log()


def test_so_is_the_end_of_one_that_waits_for_its_turn(start):
    site = Site(start, "-w", "1", "--log-level", "debug", application="apps.endings")
    with site.connect() as connection:
        connection.request("GET", "/?4")
        site.wait_log("a request runs")
        site.process.signal(signal.SIGHUP)
        site.wait_log("ready -> stopping")
        os.kill(app_master(site.process), signal.SIGTERM)
        site.wait_log("atexit ran")
        until(lambda: re.search(r"the dropped process \(pid \d+\) exited with code 0", site.log()))
        assert connection.response().body == b"ok"


def test_preloaded_processes_serve(own_site):
    site = own_site("-w", "2", "--threads", "2", "--preload")
    until(lambda: site.process.log().count(" is up (pid ") == 2, "the second process")
    pids = {c.response().body for c in ask_together(site, 4, "/whoami?0&0.5")}
    assert len(pids) == 2
