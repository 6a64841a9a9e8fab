# SPDX-License-Identifier: MIT
"""A cookie that takes a client back to the app server it was at, with real processes: what
the client sees, what the application sees, and what happens when that one is busy, drained,
gone or killed."""

import collections
import signal
import subprocess
import threading

import pytest
import requests
from conftest import program, until
from test_balance import APPS, Row

NAME = "node"


def cookie_of(answer):
    return answer.cookies.get(NAME)


def cookie_of_session(session):
    return session.cookies[NAME]


def homes(row, count):
    """A session for each app server of the row, by its name."""
    found = {}
    for _ in range(200):
        session = requests.Session()
        answer = session.get(row.url + "/")
        if found.setdefault(answer.text, session) is session:
            assert cookie_of(answer) is not None
        if len(found) == count:
            return found
    raise AssertionError(f"only {sorted(found)} answered")


def test_a_client_stays_where_it_was(start):
    row = Row(start, 3, "--balance", "round_robin", "--sticky", NAME)
    for name, session in homes(row, 3).items():
        answers = [session.get(row.url + "/") for _ in range(10)]
        assert {a.text for a in answers} == {name}
        assert all("Set-Cookie" not in a.headers and "Cache-Control" not in a.headers for a in answers)


def test_the_cookie_is_for_browsers_and_no_shared_cache(start):
    row = Row(start, 1, "--sticky", NAME, "--sticky-ttl", "1h", "--trusted-proxies", "127.0.0.1")
    answer = requests.get(row.url + "/")
    value = cookie_of(answer)
    assert len(value) == 16 and "b0" not in value and ".sock" not in value
    assert answer.headers["Set-Cookie"] == f"{NAME}={value}; Path=/; HttpOnly; SameSite=Lax; Max-Age=3600"
    assert answer.headers["Cache-Control"] == "private"
    secure = requests.get(row.url + "/", headers={"X-Forwarded-Proto": "https"})
    assert secure.headers["Set-Cookie"].endswith("; Secure")


def test_another_proxy_with_the_same_names_understands_it(start):
    row = Row(start, 3, "--balance", "round_robin", "--sticky", NAME)
    sessions = homes(row, 3)
    row.proxy.stop()
    row.start_proxy("--balance", "round_robin", "--sticky", NAME)
    for name, session in sessions.items():
        answers = [session.get(row.url + "/") for _ in range(5)]
        assert {a.text for a in answers} == {name}
        assert all("Set-Cookie" not in a.headers for a in answers)


def test_the_application_sees_its_own_cookies_alone(start):
    row = Row(start, 1, "--sticky", NAME, app="show_environ")
    value = cookie_of(requests.get(row.url + "/"))
    seen = requests.get(row.url + "/", headers={"Cookie": f"a=1; {NAME}={value}; b=2"}).json()
    assert seen["HTTP_COOKIE"] == ["str", "'a=1; b=2'"]
    seen = requests.get(row.url + "/", headers={"Cookie": f"{NAME}={value}"}).json()
    assert "HTTP_COOKIE" not in seen


def ask_at_once(row, count, path, cookie):
    """So many requests at the same time with this cookie."""
    answers = []

    def ask():
        answers.append(requests.get(row.url + path, cookies={NAME: cookie}, timeout=30))

    threads = [threading.Thread(target=ask) for _ in range(count)]
    for t in threads:
        t.start()
    yield
    for t in threads:
        t.join()
    yield answers


def test_it_waits_for_its_own_one_while_others_are_served(start):
    row = Row(start, 2, "--sticky", NAME, "--balance", "round_robin", threads=1)
    asking = ask_at_once(row, 4, "/?0.3", cookie_of_session(homes(row, 2)["b0"]))
    next(asking)
    others = row.ask(20)
    assert sum(others.values()) == 20 and others["b1"] > 0
    answers = next(asking)
    assert [a.text for a in answers] == ["b0"] * 4
    assert all("Set-Cookie" not in a.headers for a in answers)


def test_after_sticky_wait_another_one_serves_it(start):
    row = Row(start, 2, "--sticky", NAME, "--sticky-wait", "0.2", "--balance", "round_robin", threads=1)
    cookie = cookie_of_session(homes(row, 2)["b0"])
    asking = ask_at_once(row, 8, "/?0.5", cookie)
    next(asking)
    answers = next(asking)
    assert {a.text for a in answers} == {"b0", "b1"}
    for a in answers:
        assert (cookie_of(a) is None) == (a.text == "b0") and cookie_of(a) != cookie
    moved = next(cookie_of(a) for a in answers if a.text == "b1")
    assert requests.get(row.url + "/", cookies={NAME: moved}).text == "b1"


class Load:
    """Clients that ask one request after the other, each with its own cookie."""

    def __init__(self, row, sessions):
        self.row, self.stop, self.failed = row, threading.Event(), collections.Counter()
        self.served, self.moves = 0, []
        self.threads = [threading.Thread(target=self.run, args=pair) for pair in sessions]
        for t in self.threads:
            t.start()

    def run(self, name, session):
        while not self.stop.is_set():
            answer = session.get(self.row.url + "/?0.005", timeout=30)
            self.served += 1
            if answer.status_code != 200:
                self.failed[answer.status_code] += 1
            elif answer.text != name:
                assert cookie_of(answer) is not None
                self.moves.append((name, answer.text))
                name = answer.text
            else:
                assert cookie_of(answer) is None

    def moved_from(self, name):
        return sum(old == name for old, _ in self.moves)

    def end(self):
        self.stop.set()
        for t in self.threads:
            t.join()


def test_killed_ones_fail_nobody_and_their_clients_move(start):
    """One after the other, under load, with requests in flight and in the queue for them; all
    are idempotent."""
    row = Row(start, 3, "--sticky", NAME, "--balance", "round_robin", threads=2)
    load = Load(row, [pair for _ in range(4) for pair in homes(row, 3).items()])
    for i in range(3):
        name, served = f"b{i}", load.served
        until(lambda n=served: load.served > n + 300, "load")
        before = len(load.moves)
        row.apps[i].signal(signal.SIGKILL)
        until(lambda n=name: row.proxy.log().count(f"{n} app server") > 1, "its end")
        until(lambda n=before: len(load.moves) > n, "clients that move")
        row.start_app(i, {})
        until(lambda r=i: row.proxy.log().count(f"{row.endpoint(r)} is up (pid ") == 2, "its successor")
    load.end()
    assert not load.failed
    # Each had clients when it died, and no client went to one that was not there.
    assert {old for old, _ in load.moves} == {"b0", "b1", "b2"}


def banyan(row, *words):
    done = subprocess.run([program("banyan"), "--proxy", row.control, *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, (words, done.stdout, done.stderr)
    return done.stdout


@pytest.fixture
def governed(start):
    control = str(start.folder / "control.sock")
    row = Row(start, 2, "--sticky", NAME, "--balance", "round_robin", "--control", control)
    row.control = control
    return row


@pytest.mark.parametrize("words", [("weight", "b0", "0"), ("drain", "b0", "sticky=allow")])
def test_only_new_clients_go_elsewhere(governed, words):
    sessions = homes(governed, 2)
    banyan(governed, *words)
    answers = [sessions["b0"].get(governed.url + "/") for _ in range(10)]
    assert {a.text for a in answers} == {"b0"}
    fresh = [requests.get(governed.url + "/").text for _ in range(10)]
    assert fresh == ["b1"] * 10


@pytest.mark.parametrize("words", [("drain", "b0"), ("maint", "b0"), ("health", "b0", "down"), ("remove", "b0")])
def test_its_clients_move_under_load_and_none_fails(governed, words):
    sessions = [pair for _ in range(3) for pair in homes(governed, 2).items()]
    load = Load(governed, sessions)
    until(lambda: load.served > 100, "load")
    banyan(governed, *words)
    until(lambda: load.moved_from("b0") == 3, "its clients move")
    served = load.served
    until(lambda: load.served > served + 100, "load")
    load.end()
    assert not load.failed and load.moves == [("b0", "b1")] * 3


def test_a_rolling_restart_keeps_clients_with_their_names(start, site_of):
    """`banyan serve`: the workers of the next generation have the names of those before."""
    site = site_of("balance", "--chdir", APPS, "--workers", "2", "--sticky", NAME, "-e", "NAME=w", "--balance", "round_robin")
    until(lambda: site.log().count(" is up (pid ") == 2, "both workers")
    answers = [requests.get(site.url + "/") for _ in range(10)]
    cookies = {cookie_of(a) for a in answers}
    assert len(cookies) == 2
    before = site.log().count(" is up (pid ")
    site.process.signal(signal.SIGHUP)
    until(lambda: site.log().count(" is up (pid ") >= before + 2, "the next generation")
    until(lambda: not [c for c in cookies if cookie_of(requests.get(site.url + "/", cookies={NAME: c})) is not None], "all stay")
