# SPDX-License-Identifier: MIT
"""A cookie that takes a client back to the app server it was at, with real processes: what
the client sees, what the application sees, and what happens when that one is busy, drained,
gone or killed."""

import collections
import signal
import threading
import time

import requests
from test_balance import Row

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


def test_a_killed_one_fails_nobody_and_its_clients_move(start):
    """Under load, each client with a cookie of its own; only what is idempotent and in
    flight is sent again."""
    row = Row(start, 3, "--sticky", NAME, "--balance", "round_robin", "--retry-budget", "100")
    failed, moves, stop = collections.Counter(), [], threading.Event()

    def client(session, name):
        while not stop.is_set():
            answer = session.get(row.url + "/?0.005", timeout=20)
            if answer.status_code != 200:
                failed[answer.status_code] += 1
            elif answer.text != name:
                assert cookie_of(answer) is not None
                moves.append((name, answer.text))
                name = answer.text

    clients = []
    for _ in range(4):
        for name, session in homes(row, 3).items():
            clients.append(threading.Thread(target=client, args=(session, name)))
    for t in clients:
        t.start()
    row.apps[0].signal(signal.SIGKILL)
    deadline = time.monotonic() + 30
    while sum(old == "b0" for old, _ in moves) < 4 and time.monotonic() < deadline:
        time.sleep(0.05)
    stop.set()
    for t in clients:
        t.join()
    assert not failed
    assert collections.Counter(old for old, _ in moves) == {"b0": 4}
    assert "b0" not in {new for _, new in moves}
