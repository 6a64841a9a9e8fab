# SPDX-License-Identifier: MIT
"""Every file of tests/cases/http, sent byte for byte to a running site: the statuses,
what becomes of the connection, and that the application sees what it must and no more.
"""

import hashlib
import json
import random
import re
import socket
import sys
import time

import pytest
from conftest import HERE, Connection

sys.path.insert(0, str(HERE.parent / "cases"))
import http_cases  # noqa: E402

OPTIONS = {
    "lenient": ["--lenient"],
    "trusted": ["--trusted-proxies", "127.0.0.1"],
    "underscore-reject": ["--underscore-headers", "reject"],
    "underscore-keep": ["--underscore-headers", "keep"],
}
# The programs have no TLS of their own: unit tests send the one case that needs it.
CASES = [case for case in http_cases.every_case() if "tls" not in case.options]


@pytest.fixture(scope="module")
def site_for(module_site_of):
    """site_for(case): a site that is set up as the case wants. One thread everywhere:
    a journal tells of everything that was sent before it was asked for."""
    sites = {}

    def find(case):
        words = [word for option in case.options for word in OPTIONS[option]]
        key = tuple(words)
        if key not in sites:
            one = ["--workers", "1", "--threads", "1", "--edge-threads", "1"]
            sites[key] = module_site_of("apps.echo", "--chdir", str(HERE), *one, *words)
        return sites[key]

    return find


def journal_of(site):
    with Connection(site.address) as connection:
        return json.loads(connection.ask("JOURNAL", "/").body)


def methods_of(case):
    """HEAD has an answer without a body; only first requests have an unusual method."""
    first = case.data.lstrip(b"\r\n").partition(b" ")[0]
    return ["HEAD" if first == b"HEAD" else "GET"] + ["GET"] * len(case.outcomes)


def send_all(connection, pieces):
    """What the edge does not read any more, nobody needs to send."""
    for n, piece in enumerate(pieces):
        if n > 0:
            time.sleep(0.002)
        try:
            connection.send(piece)
        except (BrokenPipeError, ConnectionResetError):
            return


def converse(site, case, pieces):
    """Sends the case; the answers, when they and the connection are as they must be."""
    statuses, _ = case.statuses
    with Connection(site.address, patience_s=5) as connection:
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        send_all(connection, pieces)
        if case.ends:
            connection.socket.shutdown(socket.SHUT_WR)
        answers = [
            connection.response(method) for _, method in zip(statuses, methods_of(case))
        ]
        assert [answer.status for answer in answers] == statuses
        assert not any(answer.is_cut for answer in answers)
        if case.closes is True:
            assert connection.is_closed()
        elif case.closes is False:
            after = connection.ask("GET", "/after")
            assert after.status == 200 and json.loads(after.body)["target"] == "/after"
    for n, answer in enumerate(answers):
        says_close = "close" in (answer["Connection"] or "").split(", ")
        if n < len(answers) - 1:
            assert not says_close
        elif case.closes is not None:
            assert says_close == case.closes
    return answers


def check(site, case, pieces):
    assert journal_of(site) == []
    answers = converse(site, case, pieces)
    seen = [r for r in journal_of(site) if r["target"] != "/after"]
    unfinished = [r for r in seen if not r["complete"]]
    assert unfinished == [] or b"Expect:" in case.data
    seen = [r for r in seen if r["complete"]]

    good = case.outcomes.count("ok")
    good -= case.get("target") == b"*"  # the edge's own answer
    assert len(seen) == good, seen
    for answer in answers:
        if answer.status == 200 and answer.body:
            assert json.loads(answer.body) in seen
    if case.outcomes[0] == "ok" and good:
        check_first(case, seen[0])


def check_first(case, record):
    """What the application saw of the first request."""
    expected = {key: value.decode("latin-1") for key, value in case.expectations}
    for key in ("method", "target", "scheme", "client"):
        assert record[key] == expected.get(key, record[key])
    if "version" in expected:
        assert record["protocol"] == "HTTP/" + expected["version"]
    if "target" in expected:
        assert record["query"] == expected["target"].partition("?")[2]
    if "body" in expected:
        assert record["length"] == len(expected["body"])
        assert record["digest"] == hashlib.sha256(case.get("body")).hexdigest()
    if expected.get("framing") == "none":
        assert record["length"] == 0
    check_headers(case, record["headers"], record["length"])


def check_headers(case, headers, length):
    """WSGI folds case and dashes; other names have no place there."""
    expected = {"HTTP_HOST": host} if (host := case.get("host", b"").decode()) else {}
    for line in case.all("header"):
        name, value = line.decode("latin-1").split(": ", 1)
        if name.replace("-", "").isalnum():
            expected[key_of(name)] = value
    for key, value in expected.items():
        assert headers.get(key) == value
    for name in case.all("no-header"):
        key = key_of(name.decode())
        if key == "HTTP_X_REQUEST_START":  # there is one always, the edge's own
            assert re.fullmatch(r"t=\d{16}", headers[key])
            continue
        # A body that the edge gathered has a length, whoever told it.
        allowed = str(length) if key == "CONTENT_LENGTH" else expected.get(key)
        assert headers.get(key) in (None, allowed)
    assert all(key.replace("_", "").isalnum() for key in headers)


def key_of(name):
    key = name.upper().replace("-", "_")
    return key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else "HTTP_" + key


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_sent_in_one_piece(site_for, case):
    check(site_for(case), case, [case.data])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_sent_in_pieces(site_for, case):
    """The places depend on the name alone: a failure comes again."""
    rng = random.Random(case.name)
    for _ in range(2):
        places = sorted(
            rng.randrange(len(case.data) + 1) for _ in range(rng.randint(1, 5))
        )
        bounds = [0, *places, len(case.data)]
        check(
            site_for(case), case, [case.data[a:b] for a, b in zip(bounds, bounds[1:])]
        )
