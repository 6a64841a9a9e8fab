# SPDX-License-Identifier: MIT
"""Where requests come in, who is believed, what the access log says."""

import json
import re
import socket
import time

import pytest
from conftest import Connection, free_port, until
from http_talk import connect, get, leave_by_reset, post, steps


@pytest.fixture(scope="module")
def behind_nginx(sites, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    site = sites(
        *(
            "--threads",
            "2",
            "--bind",
            f"unix:{folder}/http",
            "--trusted-proxies",
            "unix,127.0.0.1",
        ),
        *("--access-logfile", str(folder / "access.log")),
    )
    site.folder = folder
    return site


def echoed(address, *lines):
    with Connection(address) as connection:
        connection.send(get("/echo", *lines))
        return json.loads(connection.response().body)


FORWARDED = [
    "X-Forwarded-For: 203.0.113.9",
    "X-Forwarded-Proto: https",
    "X-Request-Id: abc-1",
]


def test_64_a_unix_listener_serves_and_its_peer_can_be_trusted(behind_nginx):
    seen = echoed(f"{behind_nginx.folder}/http", *FORWARDED)
    assert (seen["client"], seen["scheme"]) == ("203.0.113.9", "https")
    assert seen["headers"]["HTTP_X_FORWARDED_FOR"] == "203.0.113.9"
    assert seen["headers"]["HTTP_X_REQUEST_ID"] == "abc-1"


def test_64_a_trusted_peer_is_believed_up_to_the_first_stranger(behind_nginx):
    lines = [
        "X-Forwarded-For: 6.6.6.6, 203.0.113.9, 127.0.0.1",
        "X-Forwarded-Proto: https",
    ]
    seen = echoed(behind_nginx.address, *lines)
    assert (seen["client"], seen["scheme"]) == ("203.0.113.9", "https")
    expected = "6.6.6.6, 203.0.113.9, 127.0.0.1, 127.0.0.1"
    assert seen["headers"]["HTTP_X_FORWARDED_FOR"] == expected


def test_64_a_stranger_is_not_believed(sites):
    seen = echoed(sites("--threads", "2").address, *FORWARDED)
    assert (seen["client"], seen["scheme"]) == ("127.0.0.1", "http")
    assert seen["headers"]["HTTP_X_FORWARDED_FOR"] == "127.0.0.1"
    assert seen["headers"]["HTTP_X_REQUEST_ID"] != "abc-1"


def test_a_bracketed_address_listens_on_ipv6(sites):
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            pytest.skip("no IPv6 here")
    port = free_port()
    site = sites("--threads", "2", "--bind", f"[::1]:{port}")
    with socket.create_connection(("::1", port)) as s:
        s.sendall(get("/echo", "Connection: close"))
        answer = b"".join(iter(lambda: s.recv(65536), b""))
    seen = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert (seen["client"], seen["headers"]["HTTP_X_FORWARDED_FOR"]) == ("::1", "::1")
    assert echoed(site.address)["client"] == "127.0.0.1"


LINE = re.compile(
    r"(?P<client>\S+) - - \[\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] "
    r'"(?P<request>[^"]*)" (?P<status>\d{3}) (?P<sent>\d+) '
    r'"(?P<referer>[^"]*)" "(?P<agent>[^"]*)" rt=(?P<rt>\d+\.\d{6}) '
    r"qt=(?P<qt>\d+\.\d{6}) rx=(?P<rx>\d+) "
    r"pool=(?P<pool>\S+) backend=(?P<backend>\S+) id=(?P<id>\S+)"
)


def logged(site, mark):
    """The one line that has the mark, taken apart."""
    log = site.folder / "access.log"
    lines = until(lambda: [x for x in log.read_text().splitlines() if mark in x], mark)
    assert len(lines) == 1
    return LINE.fullmatch(lines[0])


def test_the_access_log_has_a_line_for_each_request(behind_nginx):
    with connect(behind_nginx) as connection:
        head = post(
            steps("read", "sleep,0.1") + "&line-1",
            *(
                'User-Agent: test/1 "q" \xe9',
                "Referer: http://b/",
                "X-Forwarded-For: 203.0.113.9",
            ),
            *("X-Request-Id: my-id", "Content-Length: 5"),
        )
        connection.send(head + b"hello")
        assert connection.response().status == 200
    line = logged(behind_nginx, "line-1")
    assert line["client"] == "203.0.113.9"
    assert line["request"] == f"POST {steps('read', 'sleep,0.1')}&line-1 HTTP/1.1"
    assert (line["status"], line["sent"], line["rx"], line["id"]) == (
        "200",
        "5",
        "5",
        "my-id",
    )
    assert (line["referer"], line["agent"]) == ("http://b/", r"test/1 \x22q\x22 \xe9")
    assert 0.1 <= float(line["rt"]) < 20 and float(line["qt"]) < float(line["rt"])
    assert line["backend"] != "-"


def test_the_access_log_tells_of_refused_and_abandoned_requests(behind_nginx):
    with connect(behind_nginx) as connection:
        connection.send(get("/hello?line-2", "Content-Length: 5x"))
        assert connection.response().status == 400
    with connect(behind_nginx) as connection:
        connection.send(get(steps("sleep,0.5") + "&line-3"))
        time.sleep(0.1)
        leave_by_reset(connection)
    line = logged(behind_nginx, "line-3")
    assert (line["status"], line["sent"]) == ("499", "0")
    lines = (behind_nginx.folder / "access.log").read_text().splitlines()
    refused = [LINE.fullmatch(x) for x in lines if '" 400 ' in x]
    assert [(x["request"], x["backend"]) for x in refused] == [("-", "-")]
