# SPDX-License-Identifier: MIT
"""What an operator sees of a running proxy, beyond `show backends`: requests that were refused
and where, connections and their ends, whether a configuration is good."""

import re

import pytest
from conftest import Connection, until
from test_admin import Plane


def errors(plane):
    return plane.done("--json", "show", "errors").json["errors"]


def send_raw(plane, data):
    with Connection(plane.address) as c:
        c.send(data)
        return c.response()


HEADS = [  # what is sent, the status, the rule, the byte at which it was broken
    (b"G@T / HTTP/1.1\r\n\r\n", 400, "BAD_METHOD", 1),
    (b"GET /a b HTTP/1.1\r\n\r\n", 400, "BAD_VERSION", 7),
    (b"GET /%zz HTTP/1.1\r\n\r\n", 400, "BAD_TARGET", 6),
    (b"GET / HTTP/1.1\r\nHost: x\r\nBad Name: y\r\n\r\n", 400, "BAD_FIELD_NAME", 28),
    (b"GET / HTTP/1.1\r\nHost: x\r\nA: \x01\xff\r\n\r\n", 400, "BAD_FIELD_VALUE", 28),
    (b"GET / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n", 400, "FOLDED_FIELD", 25),
    (b"GET / HTTP/1.1\nHost: x\n\n", 400, "BAD_LINE_END", 14),
    (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400, "BAD_HOST", 22),
    (b"GET / HTTP/1.1\r\nA: b\r\n\r\n", 400, "BAD_HOST", 0),
    (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400, "BAD_CONTENT_LENGTH", 42),
    (b"BREW / HTTP/1.1\r\nHost: x\r\nExpect: tea\r\n\r\n", 417, "EXPECTATION_FAILED", 34),
]


def test_refused_heads_are_shown_with_rule_and_place(start):
    plane = Plane(start, backends=("a",), threads=1)
    assert plane.ask("/hello").status == 200 and errors(plane) == []
    for head, status, rule, offset in HEADS:
        assert send_raw(plane, head).status == status, head
        row = errors(plane)[-1]
        assert (row["status"], row["rule"], row["offset"]) == (status, rule, offset), row
        assert row["part"] == "head" and row["backend"] is None and row["reason"]
        assert re.fullmatch(r"127\.0\.0\.1:\d+", row["client"])
        assert row["listener"] == "%s:%d" % plane.address
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", row["at"])
        shown = row["bytes"].encode("latin-1").decode("unicode_escape").encode("latin-1")
        assert shown == head[row["bytes_at"] :][: len(shown)] and row["bytes_at"] <= offset
    assert len(errors(plane)) == len(HEADS)
    table = plane.done("show", "errors").out.splitlines()
    assert len(table) == 1 + len(HEADS) and "BAD_METHOD" in table[1]


def test_a_limit_and_a_body_have_their_place(start):
    plane = Plane(start, "--max-target", "1000", "--max-body", "100000", backends=("a",), threads=1)
    assert send_raw(plane, b"GET /" + b"a" * 2000 + b" HTTP/1.1\r\n\r\n").status == 414
    row = errors(plane)[-1]
    assert (row["rule"], row["offset"]) == ("TARGET_TOO_LONG", 4 + 1001)
    assert row["bytes_at"] == 1005 - 48 and row["bytes"] == "a" * 96
    post = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert send_raw(plane, post + b"3\r\nabc\r\nxyz\r\n").status == 400
    row = errors(plane)[-1]
    assert (row["rule"], row["part"], row["offset"]) == ("BAD_CHUNK", "body", 8), row
    assert row["bytes"] == r"3\r\nabc\r\nxyz\r\n"
    piece = b"%x\r\n%s\r\n" % (60000, b"b" * 60000)
    assert send_raw(plane, post + piece + piece).status == 413
    assert (errors(plane)[-1]["rule"], errors(plane)[-1]["offset"]) == ("BODY_TOO_LARGE", 100000)


def test_a_late_head_shows_what_came_of_it(start):
    plane = Plane(start, "--header-timeout", "0.2", backends=("a",), threads=1)
    assert send_raw(plane, b"GET / HTTP/1.1\r\nHost: ").status == 408
    row = errors(plane)[-1]
    assert (row["rule"], row["offset"]) == ("HEADER_TIMEOUT", 22)
    assert row["bytes"] == r"GET / HTTP/1.1\r\nHost: "


def test_only_the_last_errors_are_kept_and_by_whom_they_may_be_seen(start):
    """Bytes of requests may be secrets: a viewer does not see them."""
    viewer = f"{start.folder}/viewer.sock"
    plane = Plane(start, "--control", f"viewer:{viewer}", backends=("a",), threads=1)
    for i in range(70):
        assert send_raw(plane, b"GET /%d\x01 HTTP/1.1\r\n\r\n" % i).status == 400
    rows = errors(plane)
    assert [r["bytes"].split("\\")[0] for r in rows] == [f"GET /{i}" for i in range(6, 70)]
    assert [r["at"] for r in rows] == sorted(r["at"] for r in rows)
    answer = plane.say("show", "errors", control=viewer)
    assert answer.code == 1 and "is for the role operator" in answer.err


def test_an_answer_that_no_client_may_see_is_shown(start):
    plane = Plane(start, backends=("a",), threads=1)
    assert plane.ask("/bad-header?value=a%0ab").status == 502
    row = errors(plane)[-1]
    assert (row["part"], row["status"], row["rule"]) == ("answer", 502, "BAD_RESPONSE")
    assert row["backend"] == "default/a" and row["offset"] is None
    assert row["bytes"] == "bad value of X-Split"


def test_long_names_are_whole(start):
    name = "a" * 60
    plane = Plane(start, backends=(), threads=1)
    plane.done("add", name, plane.app("a"))
    with Connection(plane.address) as c:
        c.request("GET", "/slow?s=60")

        def running():
            rows = plane.done("--json", "show", "requests").json["requests"]
            return [r for r in rows if r["stage"] == "running"]

        row = until(running, "a running request")[0]
        assert (row["pool"], row["backend"]) == ("default", f"default/{name}")
        plane.done("kill-request", row["id"])
        assert c.response().status == 503


def test_a_connection_is_shown_and_cut_off(start):
    plane = Plane(start, backends=("a",))
    with Connection(plane.address) as idle, Connection(plane.address) as busy:
        assert idle.ask("GET", "/hello").status == 200
        busy.request("GET", "/slow?s=60")

        def both():
            rows = plane.done("--json", "show", "clients").json["clients"]
            return {r["state"]: r for r in rows} if len(rows) == 2 else None

        rows = until(lambda: (r := both()) and "busy" in r and r, "a busy connection")
        assert rows == {r["state"]: r for r in plane.done("--json", "show", "connections").json["clients"]}
        port = busy.socket.getsockname()[1]
        assert rows["busy"]["port"] == port and rows["busy"]["address"] == "127.0.0.1"
        for c, state in ((busy, "busy"), (idle, "idle")):
            ident = rows[state]["id"]
            assert plane.done("kill-client", ident).out == f"{ident} is cut off\n"
            with pytest.raises(ConnectionResetError):
                c.socket.recv(1)
            assert "unchanged" in plane.done("kill-client", ident).out
        assert plane.done("--json", "show", "requests").json["requests"] == []
    for wrong in ("x", "1", "1-", "-1", "99-1", "0-x"):
        assert "is no id" in plane.say("kill-client", wrong).err
    assert "unchanged" in plane.done("kill-client", "7-1").out
    assert plane.ask("/hello").status == 200


def test_a_configuration_is_checked_and_nothing_changes(start):
    good, bad = start.folder / "good.yaml", start.folder / "bad.yaml"
    good.write_text("pools:\n  - name: web\n    backends:\n      - endpoint: ipc:///tmp/x\n")
    bad.write_text("pools:\n  - name: web\n    max-queue: lots\n")
    own = start.folder / "own.yaml"
    own.write_text(good.read_text())
    plane = Plane(start, "--config", own, backends=(), threads=1)
    before = plane.generation()
    assert plane.done("check").out == f"{own} is good: pools 1, app servers 1, routes 0\n"
    assert plane.done("check", good).out == f"{good} is good: pools 1, app servers 1, routes 0\n"
    answer = plane.say("check", bad)
    assert answer.code == 1 and f"{bad}:3:" in answer.err and "max-queue" in answer.err
    own.write_text(bad.read_text())
    answer = plane.say("--json", "check")
    assert answer.code == 1 and f"{own}:3:" in answer.json["text"]
    for path, says in (
        ("bad.yaml", "its whole path"),
        (start.folder / "none.yaml", "No such file"),
        ("/dev/zero", "is no file"),
    ):
        answer = plane.say("check", path)
        assert answer.code == 1 and says in answer.err, answer
    assert plane.generation() == before
    bare = Plane(start, backends=("a",), threads=1)
    answer = bare.say("check")
    assert answer.code == 1 and "there is no --config" in answer.err
