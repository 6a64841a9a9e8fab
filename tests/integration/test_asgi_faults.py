# SPDX-License-Identifier: MIT
"""ASGI processes that are killed, drained and replaced while WebSockets and event streams are open:
no client is left in silence, and what comes next is served elsewhere."""

import ast
import os
import signal
import time

import pytest
from conftest import HERE, Connection, until
from test_faults import wrk, wrk_errors
from ws_talk import Closed, WebSocket

CROWD = 100


@pytest.fixture
def site(site_of):
    def make(*options):
        site = site_of("apps.asgi_crowd", "--chdir", str(HERE), "--workers", "2", *options)
        until(lambda: len({status(site)["pid"] for _ in range(8)}) == 2, "both processes")
        return site

    return make


class Stream(Connection):
    """An event stream; `pid` is who serves it."""

    def __init__(self, address):
        super().__init__(address)
        self.request("GET", "/events")
        while self.buffer.count(b"\n") < 2 or not self.buffer.endswith(b"\n\r\n"):
            if not self.receive():
                raise ConnectionError(f"closed after {self.buffer!r}")
        head, _, chunk = self.buffer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        self.pid = int(chunk.split(b"\r\n")[1])
        self.buffer = b""

    def how_it_ended(self):
        """"cut", or "complete" when the last chunk came."""
        while self.receive():
            pass
        return "complete" if self.buffer.endswith(b"0\r\n\r\n") else "cut"


class Socket(WebSocket):
    """A WebSocket; `pid` is who serves it."""

    def __init__(self, address):
        super().__init__(address, "/")
        assert self.answer.status == 101, self.answer
        self.pid = int(self.get())

    def how_it_ended(self):
        """The code of the Close frame; None when the connection just broke."""
        try:
            return self.end()[0]
        finally:
            self.close()


def crowd(site):
    """CROWD WebSockets and as many streams, on both processes."""
    sockets = [Socket(site.address) for _ in range(CROWD)]
    streams = [Stream(site.address) for _ in range(CROWD)]
    pids = {one.pid for one in sockets + streams}
    assert len(pids) == 2
    return sockets, streams, pids


def of(ones, pid):
    return [one for one in ones if one.pid == pid]


def still_talk(sockets):
    for ws in sockets:
        ws.put("still there?")
    assert {ws.get() for ws in sockets} <= {"still there?"}


def leave(ones):
    for one in ones:
        one.close()


def status(site):
    with Connection(site.address) as connection:
        return ast.literal_eval(connection.ask("GET", "/").body.decode())


def test_a_killed_process_leaves_nobody_in_silence(site):
    site = site()
    sockets, streams, pids = crowd(site)
    victim = min(pids, key=lambda pid: len(of(sockets, pid)) == 0)
    os.kill(victim, signal.SIGKILL)
    # Each wait is bounded by the patience of a Connection.
    assert {ws.how_it_ended() for ws in of(sockets, victim)} <= {1012, None}
    assert {stream.how_it_ended() for stream in of(streams, victim)} <= {"cut"}
    [other] = pids - {victim}
    still_talk(of(sockets, other))
    new = [Socket(site.address) for _ in range(10)] + [Stream(site.address) for _ in range(10)]
    assert victim not in {one.pid for one in new}
    leave(sockets + streams + new)
    site.wait_log("was killed by SIGKILL")
    until(lambda: len(site.workers()) == 2 and victim not in site.workers(), "its successor")
    until(lambda: {Socket(site.address).pid for _ in range(8)} == set(site.workers()), "both in use")


def test_a_close_code_says_that_the_service_restarts(site):
    site = site()
    sockets, streams, pids = crowd(site)
    victim = next(iter(pids))
    os.kill(victim, signal.SIGKILL)
    assert {ws.how_it_ended() for ws in of(sockets, victim)} == {1012}
    leave(sockets + streams)


def test_a_process_that_gets_a_sigterm_says_goodbye_to_its_own(site):
    site = site("--graceful-timeout", "2")
    sockets, streams, pids = crowd(site)
    victim = next(iter(pids))
    os.kill(victim, signal.SIGTERM)
    assert {ws.how_it_ended() for ws in of(sockets, victim)} == {1012}
    assert {stream.how_it_ended() for stream in of(streams, victim)} <= {"cut", "complete"}
    [other] = pids - {victim}
    still_talk(of(sockets, other))
    new = [Socket(site.address) for _ in range(10)] + [Stream(site.address) for _ in range(10)]
    assert victim not in {one.pid for one in new}
    leave(sockets + streams + new)


def test_sighup_moves_everybody_to_the_new_processes(site):
    site = site("--graceful-timeout", "2")
    sockets, streams, pids = crowd(site)
    site.process.signal(signal.SIGHUP)
    assert {ws.how_it_ended() for ws in sockets} == {1012}
    assert {stream.how_it_ended() for stream in streams} <= {"cut", "complete"}
    until(lambda: len(site.workers()) == 2 and not pids & set(site.workers()), "new processes")
    new = [Socket(site.address) for _ in range(10)] + [Stream(site.address) for _ in range(10)]
    assert not pids & {one.pid for one in new}
    leave(new)


def test_new_clients_are_served_while_a_process_drains(site):
    site = site("--graceful-timeout", "2")
    sockets, streams, pids = crowd(site)
    site.process.signal(signal.SIGHUP)
    refused = 0
    while set(site.workers()) & pids:
        try:
            ws, stream = Socket(site.address), Stream(site.address)
            leave([ws, stream])
        except (Closed, ConnectionError, AssertionError):
            refused += 1
        time.sleep(0.05)
    assert refused == 0
    assert {ws.how_it_ended() for ws in sockets} == {1012}
    leave(streams)


def test_sigterm_ends_all_within_its_time(site):
    site = site("--graceful-timeout", "3")
    sockets, streams, pids = crowd(site)
    site.process.signal(signal.SIGTERM)
    assert {ws.how_it_ended() for ws in sockets} <= {1001, 1012}
    assert {stream.how_it_ended() for stream in streams} <= {"cut", "complete"}
    assert site.process.wait() == 0


def test_clients_that_leave_together_are_all_noticed(site):
    site = site()
    sockets, streams, pids = crowd(site)
    leave(sockets + streams)

    def seen():
        return {tuple(status(site).items()) for _ in range(6)}

    until(lambda: {(p, ("events", 0), ("sockets", 0)) for p, _, _ in seen()} == seen(), "the ends")


def test_killed_processes_under_get_load_fail_no_request(site):
    site = site()
    load = wrk(site.url + "/", 5)
    for _ in range(3):
        time.sleep(1.2)
        os.kill(site.workers()[0], signal.SIGKILL)
    done, errors = wrk_errors(load)
    assert errors == [] and done > 500


def test_a_generation_rolls_under_get_load_without_a_failed_request(site):
    site = site()
    load = wrk(site.url + "/", 5)
    for _ in range(2):
        time.sleep(1.5)
        site.process.signal(signal.SIGHUP)
    done, errors = wrk_errors(load)
    assert errors == [] and done > 500


def test_a_killed_proxy_is_an_end_for_clients_and_for_the_application(site):
    site = site()
    sockets, streams, pids = crowd(site)
    os.kill(site.proxy(), signal.SIGKILL)
    assert {ws.how_it_ended() for ws in sockets} == {None}
    assert {stream.how_it_ended() for stream in streams} == {"cut"}

    def is_empty():
        try:
            return {(s["events"], s["sockets"]) for s in [status(site) for _ in range(6)]} == {(0, 0)}
        except (ConnectionError, OSError):
            return False

    until(is_empty, "disconnects in the application")
    assert set(site.workers()) == pids
