# SPDX-License-Identifier: MIT
"""What a service manager hears: sd_notify(3) of each program, with a socket in place of
systemd; and `banyan serve` as the manager of its proxy."""

import os
import signal
import socket
import struct
import subprocess
import time

import pytest
from conftest import HERE, PATIENCE_S, PYTHON, Connection, children, free_port, program, until

BACKEND = HERE / "second_backend.py"
APPS = str(HERE / "apps")


class Manager:
    """NOTIFY_SOCKET; knows who has said what."""

    def __init__(self, folder):
        self.path = str(folder / "notify.sock")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.socket.bind(self.path)
        self.said = []  # (pid, {name: value}, when)

    def env(self, **more):
        return {"NOTIFY_SOCKET": self.path, **more}

    def hear(self, patience_s):
        """The next datagram; None."""
        self.socket.settimeout(max(patience_s, 0.001))
        try:
            data, ancillary, _, _ = self.socket.recvmsg(8192, 1000)
        except TimeoutError:
            return None
        pid = struct.unpack("iII", ancillary[0][2])[0]
        lines = dict(line.split("=", 1) for line in data.decode().splitlines())
        self.said.append((pid, lines, time.monotonic()))
        return self.said[-1]

    def until(self, condition, patience_s=PATIENCE_S):
        """Listens until somebody says what fits; (pid, lines)."""
        end = time.monotonic() + patience_s
        while time.monotonic() < end:
            heard = self.hear(end - time.monotonic())
            if heard and condition(heard[1]):
                return heard[:2]
        raise AssertionError(f"never said; but: {self.said}")


@pytest.fixture
def manager(start):
    return Manager(start.folder)


def proxy(start, manager, *options, env=None):
    endpoint = f"ipc://{start.folder}/app.sock"
    app = start(PYTHON, BACKEND, endpoint)
    app.wait_log("ready")
    control = str(start.folder / "control.sock")
    address = ("127.0.0.1", free_port())
    p = start(
        *(program("banyan-proxy"), "--bind", "%s:%d" % address, "--backend", endpoint),
        *("--threads", "2", "--control", control, *options),
        env=manager.env(**(env or {})),
    )
    return p, app, address, control


def say(control, *words):
    argv = [program("banyan"), "--proxy", control, *words]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60)


def test_a_proxy_says_when_it_serves_reloads_and_stops(start, manager):
    config = start.folder / "proxy.yaml"
    config.write_text("threads: 2\n")
    p, app, address, control = proxy(start, manager, "--config", config)
    pid, lines = manager.until(lambda s: "READY" in s)
    assert pid == p.pid and lines["READY"] == "1"
    Connection(address).close()
    manager.until(lambda s: s.get("STATUS") == "serving, app servers up: 1 of 1")
    app.kill()
    manager.until(lambda s: s.get("STATUS") == "serving, app servers up: 0 of 1")

    before = time.monotonic_ns() // 1000
    p.signal(signal.SIGHUP)
    _, lines = manager.until(lambda s: "RELOADING" in s)
    assert before <= int(lines["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
    manager.until(lambda s: "READY" in s)
    config.write_text("threads: many\n")
    assert say(control, "reload").returncode == 1
    manager.until(lambda s: "RELOADING" in s)
    _, lines = manager.until(lambda s: "READY" in s)
    assert "nothing has changed" in lines["STATUS"]
    p.signal(signal.SIGTERM)
    pid, _ = manager.until(lambda s: s.get("STOPPING") == "1")
    assert pid == p.pid and p.wait() == 0


def test_an_upgraded_proxy_is_the_main_process(start, manager):
    p, _, address, control = proxy(start, manager)
    manager.until(lambda s: "READY" in s)
    assert say(control, "upgrade").returncode == 0
    pid, lines = manager.until(lambda s: "MAINPID" in s)
    new = int(lines["MAINPID"])
    assert pid == p.pid and new != pid
    pid, _ = manager.until(lambda s: "READY" in s)
    assert pid == new
    assert p.wait() == 0
    os.kill(new, signal.SIGTERM)
    pid, _ = manager.until(lambda s: "STOPPING" in s)
    assert pid == new
    # The replaced one has said nothing more.
    said = [lines for who, lines, _ in manager.said if who == p.pid]
    assert "MAINPID" in said[-1]


def pings(manager, seconds):
    """Who said WATCHDOG=1 meanwhile."""
    end = time.monotonic() + seconds
    heard = []
    while time.monotonic() < end:
        said = manager.hear(end - time.monotonic())
        if said and "WATCHDOG" in said[1]:
            heard.append(said[0])
    return heard


def watchdog(start, *argv, **more):
    """Starts it as systemd would with WatchdogSec=1: WATCHDOG_PID is its own."""
    script = 'WATCHDOG_PID=$$ exec "$@"'
    env = {"WATCHDOG_USEC": "1000000", **more.pop("env")}
    return start("bash", "-c", script, "bash", *argv, env=env, **more)


def threads(pid):
    """{name: tid}"""
    found = {}
    for tid in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{tid}/comm", encoding="ascii") as f:
            found[f.read().strip()] = int(tid)
    return found


@pytest.mark.skipif(os.geteuid() != 0, reason="stops a single thread, with ptrace")
def test_the_watchdog_hears_nothing_of_a_stuck_edge_thread(start, manager):
    endpoint = f"ipc://{start.folder}/app.sock"
    bind = f"127.0.0.1:{free_port()}"
    p = watchdog(
        start,
        *(program("banyan-proxy"), "--bind", bind, "--backend", endpoint, "--threads", "3"),
        env=manager.env(),
    )
    manager.until(lambda s: "READY" in s)
    for _ in range(3):
        manager.until(lambda s: "WATCHDOG" in s)
    stopper = start(PYTHON, "-c", STOP_ONE_THREAD, threads(p.pid)["edge-1"])
    stopper.wait_log("stopped")
    pings(manager, 0.6)  # what was under way
    assert pings(manager, 2) == []
    stopper.kill()
    manager.until(lambda s: "WATCHDOG" in s)
    assert "edge thread 1 does not answer: the watchdog is not told" in p.log()
    assert p.stop() == 0


STOP_ONE_THREAD = """
import ctypes, os, signal, sys
tid = int(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long] * 4
assert libc.ptrace(16, tid, 0, 0) == 0, os.strerror(ctypes.get_errno())  # ATTACH
os.waitpid(tid, 0x40000000)  # __WALL
print("stopped", flush=True)
signal.pause()
"""


def test_an_app_server_says_when_its_first_worker_is_ready(start, manager):
    app = watchdog(
        start,
        *(program("banyan-app"), "named:app", "--python", PYTHON, "--processes", "2"),
        *("--bind", f"ipc://{start.folder}/app-{{n}}.sock"),
        env=manager.env(APP_NAME="x"),
        cwd=APPS,
    )
    pid, lines = manager.until(lambda s: "READY" in s)
    assert pid == app.pid and app.log().count("is ready on") >= 1
    if lines["STATUS"] != "workers ready: 2 of 2":
        manager.until(lambda s: s.get("STATUS") == "workers ready: 2 of 2")
    app.signal(signal.SIGHUP)
    manager.until(lambda s: "RELOADING" in s)
    manager.until(lambda s: "READY" in s)
    assert "all workers are replaced" in app.log()
    assert len(pings(manager, 2)) >= 2
    app.signal(signal.SIGTERM)
    manager.until(lambda s: "STOPPING" in s)
    assert app.wait() == 0
    assert {who for who, _, _ in manager.said} == {app.pid}


def serve(start, manager, *options, **more):
    address = ("127.0.0.1", free_port())
    argv = [program("banyan"), "serve", "named:app", "--python", PYTHON, "--workers", "2"]
    argv += ["--bind", "%s:%d" % address, "--chdir", APPS, *options]
    env = manager.env(APP_NAME="x", XDG_RUNTIME_DIR=str(start.folder))
    site = watchdog(start, *argv, env=env, **more)
    return site, address


def named(pid, name):
    return [p for p, n in children(pid).items() if n == name]


def test_serve_speaks_for_its_programs(start, manager):
    site, address = serve(start, manager)
    pid, _ = manager.until(lambda s: "READY" in s)
    assert pid == site.pid
    with Connection(address) as c:
        assert c.ask("GET", "/").body == b"x"
    assert len(pings(manager, 1.5)) >= 2
    (first,) = named(site.pid, "banyan-proxy")
    os.kill(first, signal.SIGSTOP)  # the proxy's edge threads, for that matter
    pings(manager, 0.6)
    assert pings(manager, 1.2) == []
    os.kill(first, signal.SIGCONT)
    manager.until(lambda s: "WATCHDOG" in s)
    site.signal(signal.SIGHUP)
    manager.until(lambda s: "RELOADING" in s)
    manager.until(lambda s: "READY" in s)
    site.signal(signal.SIGTERM)
    manager.until(lambda s: "STOPPING" in s)
    assert site.wait() == 0
    assert {who for who, _, _ in manager.said} == {site.pid}


def test_serve_follows_the_proxy_that_takes_over(start, manager):
    site, address = serve(start, manager)
    manager.until(lambda s: "READY" in s)
    (first,) = named(site.pid, "banyan-proxy")
    with Connection(address) as kept:
        kept.request("GET", "/slow?3")  # keeps the first one from ending
        with Connection(address) as c:
            assert c.ask("GET", "/").status == 200
        site.signal(signal.SIGUSR2)
        site.wait_log(f"in place of pid {first}")
        (second,) = named(first, "banyan-proxy")
        # It is supervised although it is not serve's own child yet.
        os.kill(second, signal.SIGKILL)
        site.wait_log(f"proxy (pid {second}) ")
        third = until(
            lambda: [p for p in named(site.pid, "banyan-proxy") if p != first], "a third"
        )[0]
        assert kept.response("GET").body == b"x"
        site.wait_log(f"proxy (pid {first}), which was replaced, has finished")

    def answers():
        try:
            with Connection(address) as c:
                return c.ask("GET", "/").status == 200
        except OSError:
            return False

    until(answers, "the third proxy")
    site.signal(signal.SIGUSR2)
    site.wait_log(f"in place of pid {third}")
    site.wait_log(f"proxy (pid {third}), which was replaced, has finished")
    (fourth,) = until(lambda: named(site.pid, "banyan-proxy"), "a child of serve")
    assert fourth not in (first, second, third) and answers()
    # It dies with serve, as the first would have.
    site.signal(signal.SIGKILL)
    until(lambda: not os.path.exists(f"/proc/{fourth}"), "the end of the last proxy")


def test_serve_stops_a_replaced_proxy_too(start, manager):
    site, address = serve(start, manager, "--graceful-timeout", "20")
    manager.until(lambda s: "READY" in s)
    (first,) = named(site.pid, "banyan-proxy")
    with Connection(address) as kept:
        kept.request("GET", "/slow?2")
        with Connection(address) as c:
            assert c.ask("GET", "/").status == 200
        site.signal(signal.SIGUSR2)
        site.wait_log(f"in place of pid {first}")
        site.signal(signal.SIGTERM)
        assert kept.response("GET").body == b"x"
    assert site.wait() == 0
    assert not os.path.exists(f"/proc/{first}")


def test_serve_forgets_a_replaced_proxy_that_another_one_reaps(start, manager):
    site, address = serve(start, manager)
    manager.until(lambda s: "READY" in s)
    (first,) = named(site.pid, "banyan-proxy")
    with Connection(address) as kept:
        kept.request("GET", "/slow?4")  # keeps the first one from ending
        with Connection(address) as c:
            assert c.ask("GET", "/").status == 200
        site.signal(signal.SIGUSR2)
        site.wait_log(f"in place of pid {first}")
        (second,) = named(first, "banyan-proxy")
        site.signal(signal.SIGUSR2)
        site.wait_log(f"in place of pid {second}")
        site.wait_log(f"proxy (pid {second}), which was replaced, has finished")
        assert kept.response("GET").body == b"x"
    site.signal(signal.SIGTERM)
    assert site.wait() == 0


def is_gone(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_all_proxies_die_with_serve_while_a_replaced_one_is_there(start, manager):
    site, address = serve(start, manager)
    manager.until(lambda s: "READY" in s)
    (first,) = named(site.pid, "banyan-proxy")
    with Connection(address) as kept:
        kept.request("GET", "/slow?4")  # keeps the first one from ending
        with Connection(address) as c:
            assert c.ask("GET", "/").status == 200
        site.signal(signal.SIGUSR2)
        site.wait_log(f"in place of pid {first}")
        (second,) = named(first, "banyan-proxy")
        site.signal(signal.SIGKILL)  # a zombie until this test reaps it
        until(lambda: is_gone(first), "the end of the replaced proxy")
        until(lambda: is_gone(second), "the end of the proxy")
