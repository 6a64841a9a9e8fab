# SPDX-License-Identifier: MIT
"""Which app server a request goes to, with real processes: policies, ejection, overload."""

import collections
import re
import socket
import subprocess
import time

import pytest
import requests
from conftest import HERE, PYTHON, free_port, program, until

APPS = str(HERE / "apps")


class Row:
    """`count` app servers of one process each and a proxy with one edge thread."""

    def __init__(self, start, count, *options, app="balance", threads=4, env=None):
        self.start, self.threads = start, threads
        self.app = app
        self.apps = [self.start_app(i, (env or {}).get(i, {})) for i in range(count)]
        self.access = start.folder / "access.log"
        self.start_proxy(*options)

    def start_proxy(self, *options):
        """The proxy, or another one after it."""
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        backends = [w for i in range(len(self.apps)) for w in ("--backend", f"b{i}={self.endpoint(i)}")]
        bind = ["--bind", f"127.0.0.1:{self.port}", "--threads", "1", "--access-logfile", self.access]
        self.proxy = self.start(program("banyan-proxy"), *bind, *backends, *options)
        for i in range(len(self.apps)):
            self.proxy.wait_log(f"{self.endpoint(i)} is up (pid ")

    def endpoint(self, i):
        return f"ipc://{self.start.folder}/{i}.sock"

    def start_app(self, i, env):
        argv = ["--bind", self.endpoint(i), "--threads", str(self.threads), "--chdir", APPS]
        name = {"NAME": f"b{i}", **env}
        return self.start(program("banyan-app"), *argv, "--python", PYTHON, f"{self.app}:application", env=name)

    def ask(self, count, path="/", **more):
        """Who answered, how often; statuses other than 200 by their number."""
        with requests.Session() as session:
            answers = [session.get(self.url + path, timeout=20, **more) for _ in range(count)]
        return collections.Counter(a.text if a.status_code == 200 else str(a.status_code) for a in answers)

    def load(self, connections, seconds, path="/"):
        """Requests that each backend had under load; none failed."""
        argv = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", self.url + path]
        report = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=True).stdout
        assert "Non-2xx" not in report and "Socket errors" not in report, report
        until(lambda: self.access.stat().st_size > 0, "a line in the access log")
        return collections.Counter(re.findall(r"\bbackend=(b\d)", self.access.read_text("latin-1")))


@pytest.mark.parametrize("policy", ["least_load", "round_robin"])
def test_busiest_and_quietest_of_four_processes_differ_by_a_tenth(start, policy):
    row = Row(start, 4, "--balance", policy)
    before = collections.Counter()
    # A process that the machine lets wait gets less, and rightly so: look again then.
    for attempt in range(5):
        total = row.load(16, 2, "/?0.004")
        served, before = total - before, total
        assert len(served) == 4 and sum(served.values()) > 100
        if max(served.values()) / min(served.values()) <= 1.1:
            return
    pytest.fail(f"never even: {served}")


def test_requests_one_by_one_are_shared_too(start):
    row = Row(start, 2)
    served = row.ask(1200)
    assert set(served) == {"b0", "b1"} and min(served.values()) >= 400


def test_round_robin_takes_one_after_the_other(start):
    row = Row(start, 3, "--balance", "round_robin")
    assert row.ask(30) == {"b0": 10, "b1": 10, "b2": 10}


def test_a_hash_keeps_a_header_or_cookie_at_one_app_server(start):
    row = Row(start, 3, "--balance", "hash", "--hash-by", "header:X-Tenant")
    homes = {}
    for tenant in map(str, range(30)):
        served = row.ask(4, headers={"X-Tenant": tenant})
        assert len(served) == 1
        homes[tenant] = next(iter(served))
    assert set(homes.values()) == {"b0", "b1", "b2"}
    assert len(row.ask(800)) == 3  # without it, all have their turn

    # Whoever was elsewhere stays there while one is away, and its own come back.
    row.apps[1].stop()
    for tenant, home in homes.items():
        served = row.ask(1, headers={"X-Tenant": tenant})
        assert (served == {home: 1}) == (home != "b1")
    row.start_app(1, {})
    tenant = next(t for t, home in homes.items() if home == "b1")
    until(lambda: row.ask(1, headers={"X-Tenant": tenant}) == {"b1": 1}, "the way back")


def test_a_hash_of_a_cookie(start):
    row = Row(start, 3, "--balance", "hash", "--hash-by", "cookie:sid")
    homes = {next(iter(row.ask(3, headers={"Cookie": f"a=b; sid={n}"}))) for n in range(30)}
    assert homes == {"b0", "b1", "b2"}


def test_a_hash_of_the_address(start):
    row = Row(start, 3, "--balance", "hash")
    assert len(row.ask(30)) == 1


def test_one_that_answers_500_gets_nothing_for_a_while(start):
    row = Row(start, 2, "--balance", "round_robin", "--eject-time", "2", env={0: {"FAILS": "1"}})
    served = row.ask(100)
    assert served == {"500": 5, "b1": 95}
    row.proxy.wait_log("ejected for 2.0 s: 5 requests failed in a row")
    row.proxy.wait_log("no longer ejected")
    assert row.ask(50)["500"] == 5
    row.proxy.wait_log("ejected for 4.0 s")


def test_an_application_that_fails_everywhere_stays(start):
    row = Row(start, 2, "--balance", "round_robin", env={0: {"FAILS": "1"}, 1: {"FAILS": "1"}})
    served = row.ask(100)
    assert served == {"500": 100}
    assert row.proxy.log().count("ejected for") <= 1


def test_a_new_process_is_trusted_again(start):
    row = Row(start, 2, "--balance", "round_robin", "--eject-time", "300", env={0: {"FAILS": "1"}})
    assert row.ask(20)["500"] == 5
    assert row.ask(20) == {"b1": 20}
    row.apps[0].stop()
    row.start_app(0, {})
    until(lambda: row.ask(4) == {"b0": 2, "b1": 2}, "a share for the new process")


def test_one_that_fails_its_check_gets_nothing_until_it_passes(start, tmp_path):
    sick = tmp_path / "sick"
    row = Row(start, 2, "--balance", "round_robin", "--check-path", "/?health", "--check-interval", "0.2",
              env={0: {"SICK": str(sick)}})
    assert set(row.ask(10)) == {"b0", "b1"}
    sick.touch()
    row.proxy.wait_log("b0 fails its check")
    assert row.ask(10) == {"b1": 10}
    sick.unlink()
    row.proxy.wait_log("b0 passes its check again")
    assert set(row.ask(10)) == {"b0", "b1"}


def test_overload_is_refused_at_once_and_the_rest_is_served(start):
    """Far more clients than two threads can serve, each with one request after the other."""
    row = Row(start, 1, "--queue-target", "0.3", threads=2)
    clients = []
    for _ in range(100):
        clients.append(socket.create_connection(("127.0.0.1", row.port)))
        clients[-1].sendall(b"GET /?0.05 HTTP/1.1\r\nHost: x\r\n\r\n")
    answers = [client.recv(4096) for client in clients]
    refused = [a for a in answers if a.startswith(b"HTTP/1.1 503 ")]
    served = [a for a in answers if a.startswith(b"HTTP/1.1 200 ")]
    assert len(refused) + len(served) == 100 and len(served) >= 5 and len(refused) >= 20
    assert all(b"\r\nretry-after: " in a.lower() for a in refused)
    for client in clients:
        client.close()
    # And is over soon after.
    time.sleep(0.5)
    assert row.ask(5) == {"b0": 5}
