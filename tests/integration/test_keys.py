# SPDX-License-Identifier: MIT
"""Keys on tcp://: who is let in, who is not, and how that is changed while it runs."""

import json
import os
import signal
import subprocess
import threading

import pytest
import zmq
from conftest import HERE, PYTHON, Connection, free_port, program, until
from zmq.utils.monitor import recv_monitor_message


def banyan(*words, code=0):
    done = subprocess.run([program("banyan"), *map(str, words)], capture_output=True, text=True)
    assert done.returncode == code, (words, done)
    return done.stdout + done.stderr


class Keys:
    """Key files and allow-lists of a test, in its folder."""

    def __init__(self, folder):
        self.folder = folder

    def make(self, name):
        """The public key of a new pair in the file `name`."""
        return banyan("keygen", "--force", self.folder / name).strip()

    def allow(self, name, *users):
        """The list `name` with (role, public key) or (role, public key, name)."""
        text = "".join(" ".join(user) + "\n" for user in users)
        beside = self.folder / f"{name}.new"
        beside.write_text(text)
        beside.chmod(0o644)
        beside.rename(self.folder / name)

    def options(self, key, allowed):
        return ["--key", self.folder / key, "--authorized-keys", self.folder / allowed]


@pytest.fixture
def keys(start):
    return Keys(start.folder)


def start_app(start, port, *options, processes=1):
    app = start(
        program("banyan-app"),
        "--python",
        PYTHON,
        "--chdir",
        HERE,
        "--bind",
        f"tcp://127.0.0.1:{port}",
        "--processes",
        processes,
        *options,
        "apps.dispatch",
    )
    app.wait_log(" is ready on ")
    return app


class Edge:
    def __init__(self, start, ports, *options):
        self.address = ("127.0.0.1", free_port())
        self.control = start.folder / f"control-{self.address[1]}"
        self.process = start(
            program("banyan-proxy"),
            "--threads",
            2,
            "--bind",
            "127.0.0.1:%d" % self.address[1],
            *(f"--backend=tcp://127.0.0.1:{port}" for port in ports),
            "--control",
            self.control,
            *options,
        )
        self.process.wait_log("listening on ")

    def asks(self):
        with Connection(self.address) as c:
            return c.ask("GET", "/hello").status

    def is_whole(self):
        shown = json.loads(banyan("--proxy", self.control, "--json", "show", "backends"))
        return {b["health"] for b in shown["backends"]} == {"up"}

    def reload(self, code=0):
        return banyan("--proxy", self.control, "reload", code=code)


def test_with_keys_requests_pass_and_nothing_is_readable(start, keys):
    edge_key, app_key = keys.make("edge"), keys.make("app")
    keys.allow("list", ("proxy", edge_key, "edge-1"), ("app", app_key))
    port = free_port()
    start_app(start, port, *keys.options("app", "list"))
    edge = Edge(start, [port], *keys.options("edge", "list"))
    edge.process.wait_log(" is up (pid ")
    assert edge.asks() == 200


def test_any_of_the_authorized_app_keys_will_do(start, keys):
    edge_key = keys.make("edge")
    app_keys = [keys.make(f"app{i}") for i in range(4)]
    keys.allow("list", ("proxy", edge_key), *(("app", k) for k in app_keys))
    ports = [free_port() for _ in app_keys]
    for i, port in enumerate(ports):
        start_app(start, port, *keys.options(f"app{i}", "list"))
    edge = Edge(start, ports, *keys.options("edge", "list"))
    until(lambda: edge.process.log().count(" is up (pid ") == 4, "all four up")
    assert "ended the handshake" not in edge.process.log()


def test_an_unknown_proxy_is_refused_and_both_ends_say_so(start, keys):
    edge_key, app_key = keys.make("edge"), keys.make("app")
    keys.allow("edge-list", ("app", app_key))
    keys.allow("app-list")
    port = free_port()
    app = start_app(start, port, *keys.options("app", "app-list"))
    edge = Edge(start, [port], *keys.options("edge", "edge-list"), "--queue-timeout", "0.5")
    app.wait_log(
        f"refused a connection from 127.0.0.1: its key {edge_key[:8]}... is in no line of "
        "--authorized-keys; wanted here: proxy"
    )
    edge.process.wait_log(f"does not let this proxy in: add the line `proxy {edge_key}`")
    assert edge.asks() == 503
    # It goes on trying, and is not mentioned again for a while.
    assert app.log().count("refused a connection") == 1
    keys.allow("app-list", ("proxy", edge_key))
    app.signal(signal.SIGHUP)
    edge.process.wait_log(" is up (pid ")
    assert edge.asks() == 200


def test_an_app_server_of_another_key_gets_nothing(start, keys):
    edge_key, app_key, other = keys.make("edge"), keys.make("app"), keys.make("other")
    keys.allow("list", ("proxy", edge_key), ("app", other))
    port = free_port()
    app = start_app(start, port, *keys.options("app", "list"))
    edge = Edge(start, [port], *keys.options("edge", "list"))
    edge.process.wait_log("ended the handshake: its key is in no line `app KEY`")
    app.wait_log("it takes us for somebody else")
    keys.allow("list", ("proxy", edge_key), ("app", other), ("app", app_key))
    assert "authorized-keys: added" in edge.reload()
    edge.process.wait_log(" is up (pid ")
    assert edge.asks() == 200


def test_keys_and_no_keys_do_not_meet(start, keys):
    edge_key, app_key = keys.make("edge"), keys.make("app")
    keys.allow("list", ("proxy", edge_key), ("app", app_key))
    secure, plain = free_port(), free_port()
    secure_app = start_app(start, secure, *keys.options("app", "list"))
    plain_app = start_app(start, plain)
    plain_edge = Edge(start, [secure])
    secure_edge = Edge(start, [plain], *keys.options("edge", "list"))
    # Who reads the other's greeting first ends the connection and knows why; the other may
    # have read nothing yet, and can only guess, or not even that.
    for edge, app, of_edge, of_app in (
        (plain_edge, secure_app, "demands keys: give this proxy", "it has no keys, and --key"),
        (secure_edge, plain_app, "has no keys and this proxy has", "it demands keys, and"),
    ):
        logs = (edge.process, of_edge), (app, of_app)
        until(lambda logs=logs: any(text in p.log() for p, text in logs), of_edge)
        assert " is up (pid " not in edge.process.log()


def fate_of(endpoint, pair, server_key):
    """What becomes of the handshake of a client that is no Banyan: what somebody with a
    stolen key file can make."""
    lines = dict(line.split() for line in pair.read_text().splitlines() if line[0] != "#")
    ends = {
        zmq.EVENT_HANDSHAKE_SUCCEEDED: "let in",
        zmq.EVENT_HANDSHAKE_FAILED_AUTH: "denied",
        zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL: "broken",
        zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL: "broken",
    }
    context = zmq.Context()
    try:
        socket = context.socket(zmq.DEALER)
        socket.curve_publickey = lines["public"].encode()
        socket.curve_secretkey = lines["secret"].encode()
        socket.curve_serverkey = server_key.encode()
        monitor = socket.get_monitor_socket()
        socket.connect(endpoint)
        while monitor.poll(20_000):
            event = recv_monitor_message(monitor)["event"]
            if event in ends:
                return ends[event]
        raise AssertionError("nothing happened")
    finally:
        context.destroy(linger=0)


@pytest.mark.parametrize("role", ["app", "viewer", "operator", "admin", None])
def test_a_stolen_key_is_no_proxy(start, keys, role):
    app_key, thief = keys.make("app"), keys.make("thief")
    edge = keys.make("edge")
    keys.allow("list", ("proxy", edge), *([(role, thief)] if role else []))
    port = free_port()
    app = start_app(start, port, *keys.options("app", "list"))
    endpoint = f"tcp://127.0.0.1:{port}"
    assert fate_of(endpoint, start.folder / "thief", app_key) == "denied"
    app.wait_log(f"is of role {role}; wanted here: proxy" if role else "is in no line of")
    # The same client with the proxy's key is let in: it was the key.
    assert fate_of(endpoint, start.folder / "edge", app_key) == "let in"


# ---- changes ----


class Load:
    """Clients that ask again and again; a request that fails is remembered."""

    def __init__(self, address, clients=4):
        self.address, self.is_over = address, threading.Event()
        self.served, self.failures = 0, []
        self.clients = [threading.Thread(target=self.ask) for _ in range(clients)]
        for c in self.clients:
            c.start()

    def ask(self):
        try:
            with Connection(self.address) as c:
                while not self.is_over.is_set():
                    r = c.ask("GET", "/hello")
                    if r.status != 200:
                        self.failures.append(r)
                    self.served += 1
        except Exception as e:
            self.failures.append(e)

    def more(self, count=50):
        """So many more were served."""
        before = self.served
        until(lambda: self.failures or self.served > before + count, "more requests")
        assert self.failures == []

    def stop(self):
        self.is_over.set()
        for c in self.clients:
            c.join(60)


def test_both_keys_are_changed_under_load_without_a_failure(start, keys):
    old_edge, old_app = keys.make("edge"), keys.make("app")
    new_edge, new_app = keys.make("edge.new"), keys.make("app.new")
    keys.allow("list", ("proxy", old_edge, "old"), ("app", old_app, "old"))
    port = free_port(2)
    app = start_app(start, port, *keys.options("app", "list"), processes=2)
    edge = Edge(start, [port, port + 1], *keys.options("edge", "list"))
    until(lambda: edge.process.log().count(" is up (pid ") == 2, "both up")
    load = Load(edge.address)

    def allow(*users):
        keys.allow("list", *users)
        edge.reload()
        before = app.log().count("all workers are replaced")
        app.signal(signal.SIGHUP)
        until(lambda: app.log().count("all workers are replaced") > before, "new workers")
        load.more()

    try:
        load.more()
        both = [("proxy", old_edge, "old"), ("proxy", new_edge, "new")]
        both += [("app", old_app, "old"), ("app", new_app, "new")]
        allow(*both)
        until(edge.is_whole, "both up in both threads")
        os.rename(start.folder / "edge.new", start.folder / "edge")
        assert "key: another one" in edge.reload()
        until(lambda: edge.process.log().count("by its new key") == 2, "links with the new key")
        load.more()
        os.rename(start.folder / "app.new", start.folder / "app")
        allow(*both)
        allow(("proxy", new_edge, "new"), ("app", new_app, "new"))
    finally:
        load.stop()
    assert load.failures == [] and load.served > 200


def test_a_proxys_key_that_is_removed_loses_its_links_at_once(start, keys):
    good, bad, app_key = keys.make("good"), keys.make("bad"), keys.make("app")
    keys.allow("edges", ("app", app_key))
    keys.allow("list", ("proxy", good), ("proxy", bad))
    port = free_port()
    app = start_app(start, port, *keys.options("app", "list"))
    edge = Edge(start, [port], *keys.options("bad", "edges"))
    edge.process.wait_log(" is up (pid ")
    # The worker that runs cannot be replaced now, and must not be the way out.
    with Connection(edge.address) as c:
        c.send(b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n")
        assert c.response().status == 200
        keys.allow("list", ("proxy", good))
        app.signal(signal.SIGHUP)
        edge.process.wait_log(" is down: ")
    edge.process.wait_log("does not let this proxy in")


def test_an_app_servers_key_that_is_removed_loses_its_links_at_once(start, keys):
    edge_key, good, bad = keys.make("edge"), keys.make("good"), keys.make("bad")
    keys.allow("apps", ("proxy", edge_key))
    keys.allow("list", ("app", good), ("app", bad, "bad"))
    ports = [free_port(), free_port()]
    start_app(start, ports[0], *keys.options("good", "apps"))
    start_app(start, ports[1], *keys.options("bad", "apps"))
    edge = Edge(start, ports, *keys.options("edge", "list"))
    until(lambda: edge.process.log().count(" is up (pid ") == 2, "both up")
    keys.allow("list", ("app", good))
    assert "authorized-keys: removed bad (app, " in edge.reload()
    edge.process.wait_log("its key is not authorized any more")
    edge.process.wait_log("ended the handshake: its key is in no line `app KEY`")
    assert edge.asks() == 200


def test_a_bad_list_changes_nothing(start, keys):
    edge_key, app_key = keys.make("edge"), keys.make("app")
    keys.allow("list", ("proxy", edge_key), ("app", app_key))
    port = free_port()
    app = start_app(start, port, *keys.options("app", "list"))
    edge = Edge(start, [port], *keys.options("edge", "list"))
    edge.process.wait_log(" is up (pid ")
    keys.allow("list", ("proxy", edge_key), ("ap", app_key))
    said = edge.reload(code=1)
    assert 'list:2: "ap" is no role' in said
    app.signal(signal.SIGHUP)
    app.wait_log("the keys stay as they were, and so do the workers")
    assert 'list:2: "ap" is no role' in app.log()
    assert "replacing the workers" not in app.log()
    assert edge.asks() == 200


# ---- at the start ----


def refusal(*argv):
    done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, timeout=20)
    assert done.returncode != 0
    return done.stderr


def test_other_hosts_need_keys_or_a_word(start, keys):
    said = refusal(program("banyan-proxy"), "--backend", "tcp://192.0.2.1:7001")
    assert "--backend: tcp://192.0.2.1:7001 is not on loopback" in said
    assert "--key and --authorized-keys" in said and "--insecure" in said
    said = refusal(program("banyan-app"), "--bind", "tcp://0.0.0.0:7001", "apps.dispatch")
    assert "--bind tcp://0.0.0.0:7001: not on loopback" in said
    assert "--key and --authorized-keys" in said and "--insecure" in said
    ok = [program("banyan-proxy"), "--check", "--backend", "tcp://192.0.2.1:7001"]
    subprocess.run([*ok, "--insecure"], check=True, capture_output=True)
    edge_key = keys.make("edge")
    keys.allow("list", ("proxy", edge_key))
    subprocess.run([*ok, *keys.options("edge", "list")], check=True, capture_output=True)


def test_what_is_wrong_with_the_files_is_said_at_the_start(start, keys):
    edge_key = keys.make("edge")
    keys.allow("list", ("proxy", edge_key), ("root", edge_key))
    check = [program("banyan-proxy"), "--backend", "tcp://127.0.0.1:7001"]
    check += ["--bind", f"unix:{start.folder}/http"]
    said = refusal(*check, *keys.options("edge", "list"))
    assert 'list:2: "root" is no role' in said
    assert 'list:2: "root" is no role' in refusal(*check, "--check", *keys.options("edge", "list"))
    keys.allow("list")
    assert "nowhere: No such file" in refusal(*check, *keys.options("nowhere", "list"))
    (start.folder / "edge").chmod(0o620)
    assert "chmod go-w" in refusal(*check, *keys.options("edge", "list"))
    assert "--authorized-keys is needed" in refusal(*check, "--key", start.folder / "edge")
    said = refusal(*check, "--insecure", *keys.options("edge", "list"))
    assert "--insecure and --key" in said


def test_a_list_is_made_shown_and_changed(start, keys):
    path, key = start.folder / "new-list", keys.make("edge")
    banyan("keys", "add", path, "proxy", key, "edge-1")
    assert "unchanged" in banyan("keys", "add", path, "proxy", key, "edge-1")
    banyan("keys", "add", path, "admin", keys.make("ada"), "ada@example.org")
    shown = banyan("keys", path).splitlines()
    assert shown[0].split() == ["LINE", "ROLE", "NAME", "PUBLIC", "KEY"]
    assert shown[1].split() == ["1", "proxy", "edge-1", key]
    assert "is no role" in banyan("keys", "add", path, "root", key, code=1)
    banyan("keys", "remove", path, "edge-1")
    assert len(banyan("keys", path).splitlines()) == 2
    path.write_text("what\n")
    assert "new-list:1: " in banyan("keys", path, code=1)


def test_a_key_is_not_overwritten(start, keys):
    path = start.folder / "key"
    key = banyan("keygen", path).strip()
    assert "--force" in banyan("keygen", path, code=1)
    assert banyan("keygen", "--public", path).strip() == key
    assert path.stat().st_mode & 0o777 == 0o600
    assert banyan("keygen", "--force", path).strip() != key
