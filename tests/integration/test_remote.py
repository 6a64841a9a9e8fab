# SPDX-License-Identifier: MIT
"""The control endpoint over tcp://: `banyan --proxy tcp://HOST:PORT VERB`, and peers that speak
ZeroMQ by themselves."""

import socket
import subprocess
import time

import pytest
import zmq
from conftest import free_port, program, until
from test_admin import Plane

PATIENCE_MS = 20_000


class Peer:
    """A DEALER that says lines."""

    def __init__(self, endpoint):
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.linger = 0
        self.socket.connect(endpoint)

    def say(self, *parts):
        self.socket.send_multipart([p if isinstance(p, bytes) else p.encode() for p in parts])

    def piece(self):
        assert self.socket.poll(PATIENCE_MS), "no answer"
        return self.socket.recv().decode()

    def answer(self):
        """Up to =CODE."""
        text = ""
        while not text.startswith("=") and "\n=" not in text or not text.endswith("\n"):
            text += self.piece()
        return text

    def ask(self, *parts):
        self.say(*parts)
        return self.answer()

    def close(self):
        self.context.destroy()


@pytest.fixture
def connect():
    peers = []

    def one(endpoint):
        peers.append(Peer(endpoint))
        return peers[-1]

    yield one
    for peer in peers:
        peer.close()


def remote(role="admin", host="127.0.0.1"):
    return f"{role}:tcp://{host}:{free_port()}"


def endpoint_of(control):
    return control.partition(":")[2]


def start_plane(start, *controls, options=(), backends=()):
    words = [w for c in controls for w in ("--control", c)]
    return Plane(start, *words, *options, backends=backends)


def test_a_verb_is_the_same_over_both(start):
    control = remote()
    plane = start_plane(start, control, backends=("a",))
    tcp = endpoint_of(control)
    assert plane.say("ping", control=tcp).out == "pong\n"
    who = plane.say("--json", "whoami", control=tcp).json["whoami"]
    assert who == {"who": "tcp 127.0.0.1", "role": "admin"}
    for words in (["show", "listeners"], ["help"], ["show", "config"], ["--json", "help"]):
        here, there = plane.say(*words), plane.say(*words, control=tcp)
        assert (there.code, there.out, there.err) == (here.code, here.out, here.err)
    assert plane.say("weight", "a", "50", control=tcp).code == 0
    assert plane.backend("a")["weight"] == 50
    assert plane.backend("a")["changed_by"] == "tcp 127.0.0.1"
    refused = plane.say("drain", "nobody", control=tcp)
    assert refused.code == 1 and "no backend is called nobody" in refused.err
    late = plane.say("--timeout", "0.2", "wait", "ready", "9", control=tcp)
    assert late.code == 2
    plane.proxy.wait_log("admin: tcp 127.0.0.1: weight a 50: done")


def test_without_keys_the_role_is_the_endpoints(start):
    controls = {r: remote(r) for r in ("viewer", "operator", "app")}
    plane = start_plane(start, *controls.values(), backends=("a",))
    view = endpoint_of(controls["viewer"])
    assert plane.say("show", "backends", control=view).code == 0
    assert "is for the role operator; yours is viewer" in plane.say(
        "drain", "a", control=view
    ).err
    operate = endpoint_of(controls["operator"])
    assert plane.say("drain", "a", control=operate).code == 0
    assert "yours is operator" in plane.say("shutdown", control=operate).err
    app = endpoint_of(controls["app"])
    for verb in plane.done("--json", "help").json["verbs"]:
        words = verb["verb"].split()
        if verb["role"] == "app":
            continue
        for operands in ([], ["a"], ["a", "b"], ["x=1"]):
            answer = plane.say(*words, *operands, control=app)
            assert answer.code == 1, verb
            if f"is for the role {verb['role']}; yours is app" in answer.err:
                break
        else:
            pytest.fail(f"{verb} was not refused")


def test_what_cannot_be_listened_on_is_said(start):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        there = "tcp://127.0.0.1:%d" % taken.getsockname()[1]
        proxy = start(program("banyan-proxy"), "--bind", f"127.0.0.1:{free_port()}",
                      "--control", f"admin:{there}")  # fmt: skip
        assert proxy.wait() == 1
        assert f"--control: cannot listen on {there}: Address already in use" in proxy.log()


def test_several_proxies_of_both_kinds(start):
    first, second = remote(), remote()
    one, two = start_plane(start, first), start_plane(start, second)
    both = f"{endpoint_of(first)},{two.control}"
    answer = one.say("ping", control=both)
    assert answer.code == 0
    assert answer.out == f"== {endpoint_of(first)}\npong\n== {two.control}\npong\n"
    done = one.say("stop", control=both)
    assert done.code == 0
    for plane in (one, two):
        assert plane.done("--json", "show", "pools").json["pools"][0]["state"] == "stopped"
    two.proxy.stop()
    half = one.say("--json", "ping", control=f"{endpoint_of(first)},{endpoint_of(second)}")
    assert half.code == 4
    assert [p["code"] for p in half.json["proxies"]] == [0, 3]


def test_nobody_there_is_said_at_once(start):
    plane = start_plane(start)
    nobody = f"tcp://127.0.0.1:{free_port()}"
    begun = time.monotonic()
    answer = plane.say("ping", control=nobody)
    assert answer.code == 3 and f"{nobody}: nobody listens there" in answer.err
    assert time.monotonic() - begun < 4
    wrong = plane.say("ping", control="tcp://127.0.0.1")
    assert wrong.code == 3 and "expected tcp://HOST:PORT" in wrong.err


def test_somebody_who_does_not_speak_it_is_no_proxy(start):
    """It takes the connection and says nothing: the handshake's time is over."""
    plane = start_plane(start)
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        answer = plane.say("ping", control="tcp://127.0.0.1:%d" % mute.getsockname()[1])
    assert answer.code == 3


def test_a_proxy_that_dies_during_an_answer(start):
    control = remote()
    plane = start_plane(start, control)
    words = [program("banyan"), "--proxy", endpoint_of(control), "wait", "ready", "9"]
    waits = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until(lambda: plane.done("--json", "show", "info").json["info"]["control_peers"] == 1)
    plane.proxy.kill()
    _, err = waits.communicate(timeout=20)
    assert waits.returncode == 3 and "the proxy ended the connection" in err


def test_events_stream(start):
    control = remote()
    plane = start_plane(start, control, backends=("a",))
    words = [program("banyan"), "--proxy", endpoint_of(control), "show", "events", "-w"]
    watch = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        for weight in range(1, 6):
            plane.done("weight", "a", weight)
            line = watch.stdout.readline()
            while f"weight {weight}" not in line:  # what was before may be told, too
                assert line
                line = watch.stdout.readline()
    finally:
        watch.kill()
        watch.communicate()
    until(
        lambda: plane.done("--json", "show", "info").json["info"]["control_peers"] == 0,
        "the peer that left is forgotten",
    )


def test_shutdown_is_answered(start):
    for how in ("graceful", "quick"):
        control = remote()
        plane = start_plane(start, control)
        answer = plane.say("shutdown", how, control=endpoint_of(control))
        assert answer.code == 0, answer
        assert plane.proxy.wait() == 0


def test_a_reload_said_at_an_endpoint_that_it_closes(start):
    control = remote()
    tcp, local = endpoint_of(control), str(start.folder / "local.sock")
    path = start.folder / "proxy.yaml"
    pools = f"[{{name: default, backends: [{{endpoint: 'ipc://{start.folder}/no.sock'}}]}}]"

    def write(*controls):
        path.write_text(f"bind: ['127.0.0.1:0']\ncontrol: {list(controls)}\npools: {pools}\n")

    write(local, control)
    proxy = start(program("banyan-proxy"), "--config", path)
    proxy.wait_log("listening on")

    def say(at, *words):
        argv = [program("banyan"), "--proxy", at, *words]
        return subprocess.run(argv, capture_output=True, text=True, timeout=60)

    for _ in range(3):
        write(local)
        done = say(tcp, "reload")
        assert done.returncode == 0, (done, proxy.log())
        until(lambda: say(tcp, "ping").returncode == 3, "the end of the endpoint")
        write(local, control)
        assert say(local, "reload").returncode == 0, proxy.log()
        assert say(tcp, "ping").returncode == 0
    # Taken away and brought back while it still answers.
    write(local)
    assert say(local, "reload").returncode == 0
    write(local, control)
    assert say(local, "reload").returncode == 0
    assert say(tcp, "ping").returncode == 0


def test_a_message_is_a_line(start, connect):
    control = remote()
    start_plane(start, control)
    peer = connect(endpoint_of(control))
    assert peer.ask("ping") == "+\n pong\n=0\n"
    assert peer.ask("") == "+\n!a verb is missing; `help` lists them\n=1\n"
    assert peer.ask("ping\nping") == "!a message is one line\n=1\n"
    assert peer.ask("ping", "more") == "!a message is one line\n=1\n"
    assert peer.ask(b"\x00\xff") .endswith("=1\n")
    assert peer.ask("x" * 8191).endswith("is no verb; `help` lists them\n=1\n")
    assert peer.ask("x" * 8192) == "!this line is too long\n=1\n"
    assert peer.ask("ping") == "+\n pong\n=0\n"
    three = connect(endpoint_of(control))
    three.say("ping", "a", "b")  # nothing answers that
    assert three.ask("ping") == "+\n pong\n=0\n"


def test_lines_of_one_peer_are_followed_in_turn(start, connect):
    control = remote()
    start_plane(start, control)
    peer, other = connect(endpoint_of(control)), connect(endpoint_of(control))
    peer.say("--timeout 0.3 wait ready 9")
    peer.say("ping")
    assert other.ask("ping") == "+\n pong\n=0\n"  # does not wait for the first one's
    assert peer.answer().endswith("=2\n")
    assert peer.answer() == "+\n pong\n=0\n"
    peer.say("wait ready 9")
    for _ in range(3):
        peer.say("x" * 4000)
    text = peer.answer()
    assert text.endswith("!too many lines wait; hear the answers first\n=1\n")


def test_an_idle_peer_is_forgotten_and_met_anew(start, connect):
    control = remote()
    plane = start_plane(start, control, options=["--control-idle-timeout", "0.3"])
    peer, waits = connect(endpoint_of(control)), connect(endpoint_of(control))
    assert peer.ask("ping") == "+\n pong\n=0\n"
    waits.say("show events -w")  # is not idle

    def peers():
        return plane.done("--json", "show", "info").json["info"]["control_peers"]

    until(lambda: peers() == 2)
    until(lambda: peers() == 1)
    assert peer.ask("ping") == "+\n pong\n=0\n"
    assert peers() >= 1


def test_there_is_a_limit_of_peers(start, connect):
    control = remote()
    plane = start_plane(start, control)
    peers = [connect(endpoint_of(control)) for _ in range(65)]
    answers = [p.ask("ping") for p in peers]
    assert answers == 64 * ["+\n pong\n=0\n"] + [
        "+\n!too many peers of this control endpoint\n=1\n"
    ]
    assert plane.done("ping").out == "pong\n"  # the Unix socket has places of its own
    peers[0].close()
    until(lambda: peers[64].ask("ping") == "+\n pong\n=0\n", "a place is free")


def test_who_reads_nothing_holds_up_nobody(start):
    control = remote()
    plane = start_plane(start, control)
    deaf = zmq.Context()
    socket_ = deaf.socket(zmq.DEALER)
    socket_.linger, socket_.rcvhwm = 0, 1
    socket_.connect(endpoint_of(control))
    for _ in range(300):
        socket_.send(b"help --json")
    for _ in range(20):
        assert plane.say("ping", control=endpoint_of(control)).code == 0
    deaf.destroy()
    until(
        lambda: plane.done("--json", "show", "info").json["info"]["control_peers"] == 0,
        "it is forgotten",
    )
