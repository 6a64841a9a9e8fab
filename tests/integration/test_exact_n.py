# SPDX-License-Identifier: MIT
"""Exactly N: an operator's limit holds over three proxies of four edge threads each."""

import collections
import json
import subprocess
import threading

import pytest
from conftest import HERE, PYTHON, Connection, free_port, program, until

PROXIES, EDGES, CONNECTIONS = 3, 4, 16
KINDS = {
    "wsgi": ["--threads", "16", "apps.most:application"],
    "asgi": ["--concurrency", "50", "apps.most:asgi_application"],
}


class Crowd:
    """One app process, and proxies that all send to it."""

    def __init__(self, start, kind, *options, **env):
        self.start = start
        self.endpoint = f"ipc://{start.folder}/app.sock"
        argv = ["--bind", self.endpoint, "--chdir", HERE, "--python", PYTHON]
        env = {name: str(value) for name, value in env.items()}
        self.app = start(program("banyan-app"), *argv, *options, *KINDS[kind], env=env)
        self.addresses = [("127.0.0.1", free_port()) for _ in range(PROXIES)]
        self.controls = [str(start.folder / f"c{i}.sock") for i in range(PROXIES)]
        self.proxies = [self.start_proxy(i) for i in range(PROXIES)]
        for i in range(PROXIES):
            self.until_up(i)

    def start_proxy(self, i):
        argv = ["--bind", "%s:%d" % self.addresses[i], "--threads", EDGES]
        argv += ["--backend", f"a={self.endpoint}", "--control", self.controls[i]]
        return self.start(program("banyan-proxy"), *argv)

    def say(self, *words, to=None):
        controls = self.controls if to is None else [self.controls[to]]
        proxies = [word for path in controls for word in ("--proxy", path)]
        argv = [program("banyan"), *proxies, *map(str, words)]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, (words, done)
        return done.stdout

    def row(self, i):
        return json.loads(self.say("--json", "show", "backends", to=i))["backends"][0]

    def until_up(self, i):
        self.proxies[i].wait_log("listening on")
        until(lambda: self.row(i)["health"] == "up", "up for every edge thread")

    def seen(self, i=0):
        with Connection(self.addresses[i]) as c:
            return json.loads(c.ask("GET", "/seen").body)

    def load(self, count, meanwhile=None):
        """`count` requests through all proxies at once; statuses, by proxy."""
        seen = [collections.Counter() for _ in self.addresses]
        share = count // (PROXIES * CONNECTIONS)

        def ask(i):
            with Connection(self.addresses[i], patience_s=60) as c:
                for _ in range(share):
                    seen[i][c.ask("GET", "/").status] += 1

        threads = [
            threading.Thread(target=ask, args=(i,))
            for i in range(PROXIES)
            for _ in range(CONNECTIONS)
        ]
        for t in threads:
            t.start()
        if meanwhile:
            meanwhile()
        for t in threads:
            t.join()
        return seen


@pytest.mark.parametrize("kind", KINDS)
def test_a_limit_is_never_passed_however_often_it_changes(start, kind):
    crowd = Crowd(start, kind, PAUSE_S=0.003)
    for limit, count in ((3, 1440), (1, 288), (7, 2880), (2, 576)):
        crowd.say("limit", "a", limit)
        assert [crowd.row(i)["limit"] for i in range(PROXIES)] == [limit] * PROXIES
        assert [crowd.row(i)["slots"] for i in range(PROXIES)] == [limit] * PROXIES
        crowd.seen()
        statuses = crowd.load(count)
        assert all(set(s) == {200} for s in statuses), statuses
        seen = crowd.seen()
        assert (seen["most"], seen["total"]) == (limit, count + 1)
    crowd.say("limit", "a", 0)
    crowd.load(1920)
    assert crowd.seen()["most"] > 7


@pytest.mark.parametrize("kind", KINDS)
def test_it_holds_while_it_is_lowered_under_load(start, kind):
    """The verb returns when no more run than it says."""
    crowd = Crowd(start, kind, PAUSE_S=0.002)
    most = []

    def lower():
        for limit in (9, 6, 3, 1):
            crowd.say("limit", "a", limit)
            crowd.seen(1)
            until(lambda: crowd.seen(2)["total"] > 5 * limit, "some were served")
            most.append((limit, crowd.seen(1)["most"]))

    statuses = crowd.load(4800, meanwhile=lower)
    assert all(set(s) == {200} for s in statuses), statuses
    assert all(seen <= limit for limit, seen in most), most


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_process_hears_of_it_before_its_first_request(start, kind):
    crowd = Crowd(start, kind)
    crowd.say("limit", "a", 2)
    first = crowd.seen()["pid"]

    def kill():
        subprocess.run(["kill", "-9", str(first)], check=True)

    statuses = crowd.load(4800, meanwhile=kill)
    # What runs when it dies is asked again once, elsewhere or of the next.
    assert sum(s[200] for s in statuses) >= 4700, statuses
    seen = crowd.seen()
    assert seen["pid"] != first and seen["most"] == 2


def test_the_lowest_limit_holds_as_long_as_its_proxy_lives(start):
    crowd = Crowd(start, "wsgi")
    crowd.say("limit", "a", 8)
    crowd.say("limit", "a", 1, to=2)
    crowd.seen()
    crowd.load(480)
    assert crowd.seen()["most"] == 1
    crowd.proxies[2].kill()
    until(lambda: crowd.row(0)["slots"] == 8, "its limit lapsed")
    crowd.proxies[2] = crowd.start_proxy(2)
    crowd.until_up(2)
    crowd.seen()
    crowd.load(2400)
    assert 1 < crowd.seen()["most"] <= 8


def test_no_link_starves_with_less_than_one_place_each(start):
    """Twelve links and one place: handlers long enough for what waits to be handed back and
    sent again many times."""
    crowd = Crowd(start, "wsgi", PAUSE_S=0.04)
    crowd.say("limit", "a", 1)
    served = [0] * PROXIES
    is_over = threading.Event()

    def ask(i):
        with Connection(crowd.addresses[i], patience_s=60) as c:
            while not is_over.is_set():
                assert c.ask("GET", "/").status == 200
                served[i] += 1

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(PROXIES) for _ in range(8)]
    for t in threads:
        t.start()
    until(lambda: sum(served) > 150, "some were served", patience_s=60)
    is_over.set()
    for t in threads:
        t.join()
    assert crowd.seen()["most"] == 1
    assert min(served) > 0.5 * max(served), served
