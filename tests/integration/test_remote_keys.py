# SPDX-License-Identifier: MIT
"""The remote control endpoint and registration with keys: who may do what is said by the list,
and nobody can be taken for another."""

import os
import pathlib
import signal
import subprocess

import pytest
import zmq
from conftest import HERE, PYTHON, free_port, program, until
from test_admin import Answer, Load, Plane
from test_remote import Peer



class Ring:
    """Key files, and lists of public keys."""

    def __init__(self, folder):
        self.folder, self.public = pathlib.Path(folder), {}

    def key(self, name):
        """The path of its file; made when there is none."""
        path = self.folder / f"{name}.key"
        if name not in self.public:
            made = subprocess.check_output([program("banyan"), "keygen", str(path)], text=True)
            self.public[name] = made.strip()
        return str(path)

    def write_list(self, file, **roles):
        """write_list("list", alice="admin"): its path."""
        lines = []
        for name, role in roles.items():
            self.key(name)
            lines.append(f"{role} {self.public[name]} {name}\n")
        path = self.folder / file
        path.write_text("".join(lines))
        path.chmod(0o644)
        return str(path)

    def secret(self, name):
        words = pathlib.Path(self.key(name)).read_text().split()
        return words[words.index("secret") + 1]


class SecurePeer(Peer):
    """A DEALER with a key."""

    def __init__(self, endpoint, ring, name, server="edge"):
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.linger = 0
        self.socket.curve_publickey = ring.public[name].encode()
        self.socket.curve_secretkey = ring.secret(name).encode()
        self.socket.curve_serverkey = ring.public[server].encode()
        self.socket.connect(endpoint)


class SecurePlane(Plane):
    """A proxy whose key is `edge`."""

    def __init__(self, start, ring, *options, **roles):
        self.ring, self.roles = ring, roles
        self.remote = f"tcp://127.0.0.1:{free_port()}"
        self.list = ring.write_list("proxy.list", **roles)
        words = ["--control", self.remote, "--key", ring.key("edge")]
        super().__init__(
            start, *words, "--authorized-keys", self.list, *options, backends=()
        )

    def say_as(self, name, *words, proxy_key=None, env=None):
        keys = ["--key", self.ring.key(name), "--proxy-key", proxy_key or self.ring.public["edge"]]
        argv = [program("banyan"), "--proxy", self.remote, *keys, *map(str, words)]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, env=env)
        return Answer(done)


@pytest.fixture
def ring(start):
    return Ring(start.folder)


def test_the_list_says_who_may_do_what(start, ring):
    plane = SecurePlane(start, ring, vera="viewer", otto="operator", ada="admin", shop="app")
    for name, role in [("vera", "viewer"), ("otto", "operator"), ("ada", "admin")]:
        who = plane.say_as(name, "--json", "whoami").json["whoami"]
        assert who == {"who": f"{name} 127.0.0.1", "role": role}
    assert "yours is viewer" in plane.say_as("vera", "stop").err
    assert plane.say_as("otto", "stop").code == 0
    plane.proxy.wait_log("admin: otto 127.0.0.1: stop: done")
    assert "yours is operator" in plane.say_as("otto", "save").err
    assert plane.say_as("ada", "resume").code == 0
    # A stolen key of an app server is of no use here.
    for verb in plane.done("--json", "help").json["verbs"]:
        if verb["role"] == "app":
            continue
        for operands in ([], ["a"], ["a", "b"], ["x=1"]):
            answer = plane.say_as("shop", *verb["verb"].split(), *operands)
            assert answer.code == 1, verb
            if f"is for the role {verb['role']}; yours is app" in answer.err:
                break
        else:
            pytest.fail(f"{verb} was not refused")


def test_whoever_is_not_on_the_list_is_not_let_in(start, ring):
    ring.key("mallory")
    plane = SecurePlane(start, ring, ada="admin", other="proxy")
    answer = plane.say_as("mallory", "ping")
    assert answer.code == 3 and "the proxy does not know this key" in answer.err
    answer = plane.say_as("other", "ping")  # another proxy is no operator
    assert answer.code == 3 and "the proxy does not know this key" in answer.err
    assert ring.public["mallory"][:8] in plane.proxy.log()
    bare = plane.say("ping", control=plane.remote)
    assert bare.code == 3 and "demands keys: --key FILE --proxy-key KEY" in bare.err
    assert plane.say_as("ada", "ping").code == 0


def test_the_proxy_has_to_prove_who_it_is(start, ring):
    plane = SecurePlane(start, ring, ada="admin")
    for name in ("a", "b"):
        ring.key(name)
    wrong = plane.say_as("ada", "ping", proxy_key=ring.public["a"])
    assert wrong.code == 3 and "its key is not --proxy-key, or it has none" in wrong.err
    some = ring.write_list("proxies", a="proxy", edge="proxy", b="proxy")
    assert plane.say_as("ada", "ping", proxy_key=some).out == "pong\n"
    env = {**os.environ, "BANYAN_KEY": ring.key("ada"), "BANYAN_PROXY_KEY": some}
    assert plane.say("ping", control=plane.remote, env=env).out == "pong\n"
    # Where no keys are needed the variables mean nothing.
    assert plane.say("ping", env={**os.environ, "BANYAN_KEY": "/no/such/file"}).code == 0


def test_a_proxy_without_keys_is_not_taken_for_one_with(start, ring):
    remote = f"tcp://127.0.0.1:{free_port()}"
    plane = Plane(start, "--control", f"admin:{remote}", backends=())
    ring.key("edge")
    argv = ["--key", ring.key("ada"), "--proxy-key", ring.public["edge"], "ping"]
    answer = plane.say(*argv, control=remote)
    assert answer.code == 3  # who ends the handshake first is chance
    assert "the proxy has no keys" in answer.err or "or it has none" in answer.err


def test_a_key_that_is_taken_off_the_list_is_out_at_once(start, ring):
    plane = SecurePlane(start, ring, ada="admin", eve="viewer")
    keys = ["--key", ring.key("eve"), "--proxy-key", ring.public["edge"]]
    argv = [program("banyan"), "--proxy", plane.remote, *keys, "show", "events", "-w"]
    watch = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until(lambda: plane.done("--json", "show", "info").json["info"]["control_peers"] == 1)
    ring.write_list("proxy.list", ada="admin")
    assert plane.say_as("ada", "reload").code == 0
    _, err = watch.communicate(timeout=20)
    assert watch.returncode == 3 and "the proxy ended the connection" in err
    assert plane.say_as("eve", "ping").code == 3
    assert plane.say_as("ada", "ping").code == 0


def test_options_that_contradict_each_other(start, ring):
    ring.key("edge")
    words = ["--key", ring.key("edge"), "--authorized-keys", ring.write_list("l", ada="admin")]
    for control, says in [
        ("app:tcp://127.0.0.1:7070", "is said by --authorized-keys: leave app: out"),
    ]:
        proxy = start(program("banyan-proxy"), *words, "--control", control)
        assert proxy.wait() == 2
        assert says in proxy.log()
    app = start(
        program("banyan-app"), "--bind", "ipc:///tmp/x", *words,
        "--register", "tcp://proxy:7070", "apps.dispatch"
    )  # fmt: skip
    assert app.wait() == 2
    assert "--bind or --advertise tcp://HOST:PORT" in app.log()


# ---- registration ----


class SecureApp:
    """A banyan-app with a key, whose list lets `edge` in."""

    def __init__(self, start, plane, key, name, *options, port=None):
        ring = plane.ring
        self.name, self.key = name, pathlib.Path(start.folder) / f"{name}.own.key"
        self.use_key(ring, key)
        self.list = ring.write_list(f"{name}.list", edge="proxy")
        self.endpoint = f"tcp://127.0.0.1:{port or free_port()}"
        argv = [program("banyan-app"), "--python", PYTHON, "--chdir", HERE]
        argv += ["--bind", self.endpoint, "--name", name, "--key", self.key]
        argv += ["--authorized-keys", self.list, "--register", plane.remote, "--lease", 2]
        self.process = start(*argv, *options, "apps.dispatch")

    def use_key(self, ring, key):
        """Its key file is a copy of this one."""
        new = self.key.with_suffix(".new")
        new.touch(0o600)
        new.write_text(pathlib.Path(ring.key(key)).read_text())
        new.rename(self.key)


def test_an_app_server_with_a_key_registers_and_serves(start, ring):
    plane = SecurePlane(start, ring, shop="app", ada="admin")
    app = SecureApp(start, plane, "shop", "web")
    plane.until_up("web")
    row = plane.backend("web")
    assert row["source"] == "self" and row["changed_by"] == "shop 127.0.0.1"
    assert plane.ask("/hello").status == 200
    load = Load(plane.address, clients=4)
    load.start()
    try:
        other = SecureApp(start, plane, "shop", "other")
        plane.until_up("other")
        assert app.process.stop() == 0
        served = load.served
        until(lambda: load.served > served + 50, "the other one serves")
    finally:
        load.stop()
    assert load.failures == []
    assert other.process.stop() == 0
    until(lambda: plane.backend("other") is None, "it has left")


def test_an_app_server_whose_key_is_unknown_says_what_to_do(start, ring):
    plane = SecurePlane(start, ring, ada="admin")
    app = SecureApp(start, plane, "stranger", "web")
    app.process.wait_log("its --authorized-keys needs a line `app`")
    assert plane.backend("web") is None
    plane.list = ring.write_list("proxy.list", ada="admin", stranger="app")
    assert plane.say_as("ada", "reload").code == 0
    plane.until_up("web")
    assert app.process.stop() == 0


def test_a_proxy_that_gets_keys_later_is_found_again(start, ring):
    """ZeroMQ gives up where keys and no keys meet."""
    plane = SecurePlane(start, ring, shop="app")
    plane.proxy.kill()
    secure, plain = plane.argv, [*plane.argv]
    for option, value in [("--key", ring.key("edge")), ("--authorized-keys", plane.list)]:
        at = plain.index(option)
        assert plain[at + 1] == value
        del plain[at : at + 2]
    plain[plain.index(plane.remote)] = f"app:{plane.remote}"
    for turn in range(2):
        plane.argv = plain
        plane.run()
        if turn == 0:
            app = SecureApp(start, plane, "shop", "web")
        until(lambda: app.process.log().count(f"no proxy at {plane.remote}: ") == turn + 1)
        assert plane.backend("web") is None
        plane.proxy.kill()
        plane.argv = secure
        plane.run()
        plane.until_up("web")
        plane.proxy.kill()
        until(lambda: app.process.log().count("lost the proxy at ") == turn + 1)


def test_a_member_is_its_keys_alone(start, ring):
    plane = SecurePlane(start, ring, shop="app", thief="app")
    app = SecureApp(start, plane, "shop", "web")
    plane.until_up("web")
    peer = SecurePeer(plane.remote, ring, "thief")
    for line in [
        "deregister default/web",
        f"register default/web {app.endpoint} lease=60",
        "register default/web tcp://127.0.0.1:1 lease=60",
    ]:
        assert peer.ask(line).endswith("default/web was registered with another key\n=1\n")
    assert peer.ask("register default/x ipc:///run/x lease=5").endswith("=1\n")
    # A name of its own, at the other's endpoint: there the other's key is not its own.
    assert peer.ask(f"register default/mine {app.endpoint} lease=60").endswith("=0\n")
    plane.proxy.wait_log("its key is not the one that was given for it")
    assert plane.backend("mine")["health"] != "up"
    assert plane.backend("web")["health"] == "up"
    assert plane.ask("/hello").status == 200
    peer.close()
    # The state file, too, knows whose it is: none here, so it is told anew.
    assert app.process.stop() == 0


def test_a_restarted_proxy_goes_to_the_same_key_only(start, ring):
    state = ring.folder / "state"
    plane = SecurePlane(start, ring, "--state-file", state, shop="app", thief="app")
    app = SecureApp(start, plane, "shop", "web", "--lease", "3600")
    plane.until_up("web")
    plane.proxy.kill()
    app.process.kill()
    port = app.endpoint.rpartition(":")[2]
    ring.write_list("thief.list", edge="proxy")
    thief = start(
        program("banyan-app"), "--python", PYTHON, "--chdir", HERE, "--bind",
        f"tcp://127.0.0.1:{port}", "--key", ring.key("thief"), "--authorized-keys",
        ring.folder / "thief.list", "apps.dispatch",
    )  # fmt: skip
    thief.wait_log("is ready on")
    plane.run()
    plane.proxy.wait_log("its key is not the one that was given for it")
    assert plane.backend("web")["health"] != "up"


def test_another_key_under_load(start, ring):
    """Rotation: the list has both for a while."""
    plane = SecurePlane(start, ring, old="app", new="app", ada="admin")
    app = SecureApp(start, plane, "old", "web")
    second = SecureApp(start, plane, "old", "second")
    for name in ("web", "second"):
        plane.until_up(name)
    load = Load(plane.address, clients=4)
    load.start()
    try:
        app.use_key(ring, "new")
        app.process.signal(signal.SIGHUP)
        until(
            lambda: (plane.backend("web") or {}).get("changed_by") == "new 127.0.0.1",
            "it is registered with its new key",
        )
        plane.until_up("web")
        served = load.served
        until(lambda: load.served > served + 50, "they serve")
    finally:
        load.stop()
    assert load.failures == []
    for a in (app, second):
        assert a.process.stop() == 0
