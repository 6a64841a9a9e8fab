# SPDX-License-Identifier: MIT
"""`banyan upgrade` and SIGUSR2: another process, of the program that stands at the path
now, takes over from the running one, and nobody notices."""

import json
import os
import pathlib
import re
import shutil
import signal
import socket
import stat
import subprocess
import threading
import time

import pytest
from conftest import HERE, PYTHON, Connection, children, free_port, program, until
from test_remote import Peer
from ws_talk import WebSocket

BACKEND = HERE / "second_backend.py"


class Proxy:
    """banyan-proxy from a file of its own, which an upgrade may find replaced."""

    def __init__(self, start, *options, threads=2, backends=1):
        self.start, self.folder, self.apps = start, start.folder, []
        self.path = self.folder / "banyan-proxy"
        shutil.copy(program("banyan-proxy"), self.path)
        self.control = str(self.folder / "control.sock")
        self.address = ("127.0.0.1", free_port())
        self.local = str(self.folder / "web.sock")
        words = []
        for n in range(backends):
            words += ["--backend", f"b{n}={self.app(n)}"]
        self.process = start(
            *(self.path, "--bind", "%s:%d" % self.address, "--bind", f"unix:{self.local}"),
            *("--threads", threads, "--control", self.control, *words, *options),
        )
        self.process.wait_log("listening on unix:")
        self.log, self.wait_log = self.process.log, self.process.wait_log

    def app(self, n):
        endpoint = f"ipc://{self.folder}/app-{n}.sock"
        words = ["--websocket", "--interface", "asgi"]
        self.apps.append(self.start(PYTHON, BACKEND, endpoint, *words))
        self.apps[-1].wait_log("ready")
        return endpoint

    def say(self, *words):
        argv = [program("banyan"), "--proxy", self.control, *map(str, words)]
        return subprocess.run(argv, capture_output=True, text=True, timeout=120)

    def done(self, *words):
        answer = self.say(*words)
        assert answer.returncode == 0, (words, answer, self.log())
        return answer.stdout

    def json(self, *words):
        return json.loads(self.done("--json", *words))

    def pid(self):
        return int(self.json("show", "info")["info"]["pid"])

    def upgrade(self):
        before = self.pid()
        self.done("upgrade")
        after = self.pid()
        assert after != before
        return before, after

    def ask(self, address=None, target="/hello"):
        with Connection(address or self.address) as c:
            return c.ask("GET", target).status

    def stop(self):
        """The one that serves now; the ones before may still finish."""
        pid = self.pid()
        os.kill(pid, signal.SIGTERM)
        until(lambda: is_gone(pid), "the proxy's end")


def is_gone(pid):
    """Ended, or a zombie whose parent is busy."""
    try:
        text = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True
    return text.rpartition(")")[2].split()[0] == "Z"


@pytest.fixture
def proxy_of(start):
    proxies = []

    def make(*options, **more):
        proxies.append(Proxy(start, *options, **more))
        return proxies[-1]

    yield make
    for proxy in proxies:
        for entry in pathlib.Path("/proc").glob("[0-9]*/exe"):
            try:
                target = os.readlink(entry)
            except OSError:
                continue
            if target.startswith(str(proxy.path)):
                os.kill(int(entry.parent.name), signal.SIGKILL)


def test_another_process_listens_at_every_address(proxy_of):
    metrics = free_port()
    p = proxy_of("--metrics", f"127.0.0.1:{metrics}", threads=3)
    assert p.ask() == p.ask(p.local) == 200
    inode = os.stat(p.local).st_ino
    before, after = p.upgrade()
    assert f"upgrade: {p.path} starts as pid {after}" in p.log()
    until(lambda: is_gone(before), "the old process's end")
    assert p.process.wait() == 0
    assert p.ask() == p.ask(p.local) == p.ask(("127.0.0.1", metrics), "/metrics") == 200
    assert os.stat(p.local).st_ino == inode  # the very socket
    assert stat.S_IMODE(os.stat(p.control).st_mode) == 0o600
    # The replaced one's exit has removed nothing; the last one's does.
    p.stop()
    assert not os.path.exists(p.local) and not os.path.exists(p.control)


def test_what_was_decided_is_known_to_the_new_one(proxy_of, start):
    p = proxy_of("--state-file", start.folder / "state", backends=3)
    p.done("drain", "b0")
    p.done("--ephemeral", "weight", "b1", "30")
    p.done("set", "queue-timeout=7")
    p.done("remove", "b2")
    p.done("--ephemeral", "stop", "default", "message=later")
    shown = p.done("show", "state")
    generation = p.json("show", "generation")["generation"]
    p.upgrade()
    assert p.done("show", "state") == shown
    assert p.json("show", "generation")["generation"] == generation
    rows = {r["backend"]: r for r in p.json("show", "backends")["backends"]}
    assert rows["default/b0"]["state"] == "drain" and rows["default/b1"]["weight"] == 30
    assert "default/b2" not in rows
    assert p.ask() == 503
    p.done("resume")
    assert p.ask() == 200
    (row,) = p.json("show", "config", "queue-timeout")["config"]
    assert row["value"] == "7"
    # What was not saved is still not saved.
    assert any("b1" in r["what"] for r in p.json("diff")["differences"])


def load(address, seconds, header=None, connections=8):
    """wrk; what it says."""
    words = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "20s"]
    words += ["-H", header] if header else []
    return subprocess.Popen(
        [*words, "http://%s:%d/hello" % address],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


class LocalLoad(threading.Thread):
    """Requests over the Unix socket, kept alive and one by one; wrk has no Unix sockets."""

    def __init__(self, path):
        super().__init__(daemon=True)
        self.path, self.count, self.failures, self.is_over = path, 0, [], False

    def kept(self):
        with Connection(self.path) as c:
            for _ in range(50):
                r = c.ask("GET", "/hello")
                self.note(r)
                if (r["Connection"] or "").lower() == "close":
                    return

    def single(self):
        with Connection(self.path) as c:
            self.note(c.ask("GET", "/hello", [("Connection", "close")]))

    def note(self, r):
        self.count += 1
        if r.status != 200 or r.is_cut:
            self.failures.append(r)

    def run(self):
        while not self.is_over and not self.failures:
            try:
                self.kept()
                self.single()
            except (OSError, ConnectionError) as e:
                self.failures.append(e)


def verdict(wrk):
    """Requests, and every kind of failure that wrk counts."""
    text = wrk.communicate(timeout=120)[0]
    assert wrk.returncode == 0, text
    count = int(re.search(r"(\d+) requests in", text).group(1))
    assert "Socket errors" not in text and "Non-2xx" not in text, text
    return count


def test_no_request_fails_under_load(proxy_of):
    p = proxy_of(threads=2, backends=2)
    loads = [load(p.address, 12), load(p.address, 12, "Connection: close")]
    locals_ = [LocalLoad(p.local) for _ in range(2)]
    for thread in locals_:
        thread.start()
    replaced = []
    for n in range(10):
        if n % 2:
            before = p.pid()
            os.kill(before, signal.SIGUSR2)
            until(lambda before=before: p.pid() != before, "the new process")
        else:
            before, _ = p.upgrade()
        replaced.append(before)
    counts = [verdict(wrk) for wrk in loads]
    for thread in locals_:
        thread.is_over = True
        thread.join(30)
        assert not thread.failures, thread.failures[:3]
        counts.append(thread.count)
    assert min(counts) > 100, counts
    # Each was done with its clients soon, and ended.
    for pid in replaced:
        until(lambda pid=pid: is_gone(pid), f"the end of {pid}")
    p.stop()


def test_who_waits_or_is_idle_is_served(proxy_of):
    p = proxy_of()
    with Connection(p.address) as slow, Connection(p.address) as idle:
        assert idle.ask("GET", "/hello").status == 200
        slow.request("GET", "/slow?s=2")
        until(lambda: p.json("show", "requests")["requests"], "the slow request")
        before, _ = p.upgrade()
        r = idle.ask("GET", "/hello")
        assert r.status == 200 and r["Connection"] == "close" and idle.is_closed()
        r = slow.response("GET")
        assert r.status == 200 and r["Connection"] == "close"
        until(lambda: is_gone(before), "the old process's end")


def test_a_websocket_goes_on_until_the_time_is_over(proxy_of):
    p = proxy_of("--upgrade-timeout", "2", "--graceful-timeout", "2")
    ws = WebSocket(p.address, "/ws/echo")
    before, _ = p.upgrade()
    end = time.monotonic() + 1
    while time.monotonic() < end:
        ws.put("still here")
        assert ws.get() == "still here"
    until(lambda: is_gone(before), "the old process's end")
    assert "--upgrade-timeout is over" in p.log()
    assert ws.end()[0] == 1001
    WebSocket(p.address, "/ws/echo").close()


def test_a_program_that_does_not_start_changes_nothing(proxy_of):
    p = proxy_of()
    pid = p.pid()
    p.path.unlink()
    p.path.write_text("#!/bin/sh\necho 'no such library: libgarden.so.7' >&2\nexit 127\n")
    p.path.chmod(0o755)
    answer = p.say("upgrade")
    assert answer.returncode == 1
    assert "the new proxy exited with code 127" in answer.stderr
    assert "no such library: libgarden.so.7" in answer.stderr
    assert p.pid() == pid and p.ask() == p.ask(p.local) == 200
    p.path.unlink()
    answer = p.say("upgrade")
    assert answer.returncode == 1 and "cannot run" in answer.stderr
    p.path.write_text("#!/bin/sh\nexec sleep 60\n")
    p.path.chmod(0o755)
    answer = p.say("--timeout", "1", "upgrade")
    assert answer.returncode == 1 and "was not ready in time" in answer.stderr
    assert p.pid() == pid and p.ask() == 200
    # Until it is known which process keeps it, nothing is decided; a second upgrade no
    # more than anything else.
    os.kill(pid, signal.SIGUSR2)
    (child,) = until(lambda: children(pid), "the new process")
    for words in (["drain", "b0"], ["upgrade"], ["set", "max-queue=1"]):
        assert "another process takes over" in p.say(*words).stderr
    os.kill(child, signal.SIGKILL)
    until(lambda: p.say("drain", "b0").returncode == 0, "a decision")


def test_one_that_ends_before_it_serves_leaves_the_sockets(proxy_of, start):
    state = start.folder / "state"
    p = proxy_of("--state-file", state)
    pid = p.pid()
    p.done("save")
    good = state.read_text()
    state.write_text("garbage\n")
    answer = p.say("upgrade")
    assert answer.returncode == 1 and "line 1" in answer.stderr
    assert p.pid() == pid and p.ask() == p.ask(p.local) == 200
    state.write_text(good)
    # One that is told to end when it has all of them, for its app server is not there.
    os.kill(p.apps[0].pid, signal.SIGSTOP)
    os.kill(pid, signal.SIGUSR2)
    (child,) = until(lambda: children(pid), "the new process")
    until(lambda: p.log().count("control endpoint") == 2, "its endpoints")
    os.kill(child, signal.SIGHUP)
    p.wait_log("reload: this process is taking over")
    os.kill(child, signal.SIGTERM)
    p.wait_log("the new proxy exited with code 0")
    os.kill(p.apps[0].pid, signal.SIGCONT)
    assert p.pid() == pid and p.ask() == p.ask(p.local) == 200


def test_a_new_configuration_comes_with_it(proxy_of, start):
    folder = start.folder
    config = folder / "proxy.yaml"
    new = free_port()
    config.write_text("threads: 2\n")
    p = proxy_of("--config", config, "--threads", "2")
    config.write_text("max-head: oops\n")
    answer = p.say("upgrade")
    assert answer.returncode == 1 and f"{config}:1:" in answer.stderr, answer
    assert p.ask() == 200
    config.write_text(f"threads: 2\nmax-target: 128\nmetrics: 127.0.0.1:{new}\n")
    p.upgrade()
    assert p.ask(target="/hello?" + 200 * "x") == 414
    assert p.ask(("127.0.0.1", new), "/metrics") == 200


def test_the_new_one_dies_with_the_old_until_it_serves(proxy_of):
    p = proxy_of()
    pid = p.pid()
    p.path.unlink()
    p.path.write_text("#!/bin/sh\nexec sleep 60\n")
    p.path.chmod(0o755)
    os.kill(pid, signal.SIGUSR2)
    (child,) = until(lambda: children(pid), "the new process")
    os.kill(pid, signal.SIGKILL)
    until(lambda: is_gone(child), "the end of the new process")


def test_the_state_file_is_the_new_ones(proxy_of, start):
    state = start.folder / "state"
    p = proxy_of("--state-file", state, backends=2)
    p.done("drain", "b1")
    p.upgrade()
    p.done("drain", "b0")
    text = state.read_text()
    assert text.count("state=drain") == 2
    p.upgrade()
    assert state.read_text() == text
    p.stop()


def test_a_remote_endpoint_moves_too(proxy_of):
    remote = f"tcp://127.0.0.1:{free_port()}"
    p = proxy_of("--control", f"admin:{remote}")

    def say(*words):
        argv = [program("banyan"), "--proxy", remote, *words]
        return subprocess.run(argv, capture_output=True, text=True, timeout=60)

    for _ in range(3):
        before = p.pid()
        done = say("upgrade")
        assert done.returncode == 0, (done, p.log())
        assert f"has taken over from pid {before}" in done.stdout
        until(lambda: say("ping").returncode == 0, "the endpoint")
        assert p.pid() != before
    assert socket.socket().connect_ex(("127.0.0.1", int(remote.rpartition(":")[2]))) == 0


def test_no_lease_ends_while_the_new_one_waits(proxy_of):
    """It is renewed with the old one until the new one serves, which takes longer than
    a lease here."""
    remote = f"tcp://127.0.0.1:{free_port()}"
    p = proxy_of("--control", f"app:{remote}")
    pid, is_over = p.pid(), threading.Event()
    line = f"register default/x ipc://{p.folder}/app-0.sock lease=1"
    peer = Peer(remote)

    def renew():
        while not is_over.wait(0.1):
            peer.say(line)

    renewing = threading.Thread(target=renew)
    renewing.start()
    try:
        until(lambda: "default/x" in p.done("show", "backends"), "the registration")
        os.kill(p.apps[0].pid, signal.SIGSTOP)  # the new one waits for it
        os.kill(pid, signal.SIGUSR2)
        p.wait_log("has taken over: finishing what runs here")
        os.kill(p.apps[0].pid, signal.SIGCONT)
        until(lambda: p.pid() != pid, "the new one")
        assert "default/x" in p.done("show", "backends")
        assert "did not renew its lease" not in p.log(), p.log()
    finally:
        is_over.set()
        renewing.join()
        peer.close()
