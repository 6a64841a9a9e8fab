# SPDX-License-Identifier: MIT
"""The admin plane as an operator meets it: `banyan VERB` against real proxies with real app
servers (second_backend.py)."""

import json
import os
import pathlib
import random
import re
import resource
import shlex
import shutil
import signal
import socket
import stat
import subprocess
import threading
import time

import pytest
from conftest import HERE, PYTHON, Connection, free_port, program, until

BACKEND = HERE / "second_backend.py"


class Answer:
    def __init__(self, done):
        self.code, self.out, self.err = done.returncode, done.stdout, done.stderr

    def __repr__(self):
        return f"<{self.code}\n{self.out}{self.err}>"

    @property
    def json(self):
        return json.loads(self.out)


class Plane:
    """A proxy with a control endpoint, and app servers."""

    def __init__(self, start, *options, threads=2, backends=("a", "b")):
        self.start, self.count = start, 0
        self.control = str(start.folder / f"control-{free_port()}.sock")
        self.address = ("127.0.0.1", free_port())
        self.backends = {}
        words = [w for name in backends for w in ("--backend", f"{name}={self.app(name)}")]
        self.argv = ["--bind", "%s:%d" % self.address, "--threads", threads, *words]
        self.argv += ["--control", self.control, *options]
        self.run()
        for name in backends:
            self.until_up(name)

    def run(self):
        self.proxy = self.start(program("banyan-proxy"), *self.argv)
        self.proxy.wait_log("listening on")

    def app(self, name):
        """Starts an app server; its endpoint."""
        endpoint = f"ipc://{self.start.folder}/{name}.sock"
        self.backends[name] = self.start(PYTHON, BACKEND, endpoint)
        self.backends[name].wait_log("ready")
        return endpoint

    def say(self, *words, control=None, env=None):
        argv = [program("banyan"), "--proxy", control or self.control, *map(str, words)]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=120, env=env)
        return Answer(done)

    def done(self, *words):
        answer = self.say(*words)
        assert answer.code == 0, (words, answer)
        return answer

    def backend(self, name):
        """Its row of show backends; None: there is none."""
        rows = self.done("--json", "show", "backends").json["backends"]
        return next((r for r in rows if r["backend"] == f"default/{name}"), None)

    def until_up(self, name):
        until(lambda: (self.backend(name) or {}).get("health") == "up", f"{name} is up")

    def generation(self):
        return self.done("--json", "show", "generation").json["generation"]

    def ask(self, target, method="GET"):
        with Connection(self.address) as c:
            return c.ask(method, target)


@pytest.fixture(scope="module")
def plane(start_for_module):
    """For tests that leave everything as it was."""
    return Plane(start_for_module)


def test_it_answers(plane):
    assert plane.done("ping").out == "pong\n"
    assert plane.done("--json", "ping").json == {
        "code": 0,
        "generation": plane.generation(),
        "text": "pong",
    }
    who = plane.done("--json", "whoami").json["whoami"]
    assert who["role"] == "admin" and f"uid {os.getuid()} pid" in who["who"]


def test_the_socket_is_private(plane):
    assert stat.S_IMODE(os.stat(plane.control).st_mode) == 0o600


def test_roles_are_kept_for_every_verb(start):
    """Each verb that the table gives to a higher role is refused, whatever follows it."""
    plane = Plane(start, backends=("a",))
    lower = {r: f"{start.folder}/{r}.sock" for r in ("viewer", "operator")}
    plane.proxy.stop()
    plane.argv += [w for r, p in lower.items() for w in ("--control", f"{r}:{p}")]
    plane.run()
    verbs = plane.done("--json", "help").json["verbs"]
    ranks = ["viewer", "operator", "admin"]
    assert {v["role"] for v in verbs} == {*ranks, "app"}
    verbs = [v for v in verbs if v["role"] != "app"]  # nobody's here: test_register.py
    before = plane.done("show", "state").out
    for role, path in lower.items():
        assert plane.say("--json", "whoami", control=path).json["whoami"]["role"] == role
        for verb in verbs:
            if ranks.index(verb["role"]) <= ranks.index(role):
                continue
            # As many operands as it wants, so that only the role can refuse it.
            words = verb["words"] if "words" in verb else verb["verb"]
            for operands in ([], ["a"], ["a", "b"], ["x=1"]):
                answer = plane.say(*words.split(), *operands, control=path)
                assert answer.code == 1, verb
                if f"is for the role {verb['role']}; yours is {role}" in answer.err:
                    break
            else:
                pytest.fail(f"{verb} was not refused for its role")
    assert plane.done("show", "state").out == before
    assert plane.ask("/hello").status == 200


def test_words_that_are_none_are_refused(plane):
    for words, says in [
        (["sing"], "is no verb"),
        (["show"], "show what?"),
        (["drain"], "usage: drain [POOL/]NAME"),
        (["drain", "nobody"], "no backend is called nobody"),
        (["drain", "a", "now"], "usage: drain [POOL/]NAME"),
        (["add", "x"], "usage: add [POOL/]NAME"),
        (["add", "a b", "ipc:///x"], "is no name"),
        (["add", "other/x", "ipc:///x"], "no pool is called other"),
        (["drain", "other/a"], "no pool is called other"),
        (["drain", "default/x"], "no backend is called default/x"),
        (["show", "backends", "x"], "no backend or pool is called x"),
        (["wait", "ready", "1", "other"], "no pool is called other"),
        (["show", "queue", "other"], "no pool is called other"),
        (["show", "pools", "other"], "no pool is called other"),
        (["add", "x", "http://x"], "is no endpoint"),
        (["add", "x", "tcp://192.0.2.1:1"], "not on loopback"),
        (["add", "x", "ipc:///x", "weight=257"], "weight=257 is not accepted"),
        (["weight", "a", "x"], "is no weight"),
        (["weight", "a", "300%"], "the most is 256"),
        (["limit", "a", "few"], "is no limit"),
        (["health", "a", "fine"], "expected auto, up or down"),
        (["pause", "other"], "no pool is called other"),
        (["pause", "max-pause=x"], "expected seconds"),
        (["remove", "a", "drain=x"], "expected seconds"),
        (["set", "threads=3"], "needs a restart"),
        (["set", "frob=3"], "no option is called"),
        (["set", "max-queue=many"], "max-queue"),
        (["wait", "rain", "x"], "wait for what?"),
        (["save"], "there is no state file"),
        (["reload"], "no --config"),
        (["show", "config", "frob"], "no option is called frob"),
        (["drain", "a", "if-generation=77777"], "look again"),
    ]:
        before = plane.generation()
        answer = plane.say(*words)
        assert answer.code == 1, (words, answer)
        assert says in answer.err, (words, answer)
        assert plane.generation() == before
        as_json = plane.say("--json", *words)
        assert as_json.code == 1 and as_json.json["code"] == 1
        assert says in as_json.json["text"]


def test_a_proxy_that_is_not_there(plane, tmp_path):
    answer = plane.say("ping", control=tmp_path / "nowhere.sock")
    assert answer.code == 3 and "nowhere.sock" in answer.err
    several = plane.say("--proxy", tmp_path / "nowhere.sock", "ping")
    assert several.code == 4
    assert f"== {plane.control}\npong\n" in several.out
    rows = plane.say("--json", "--proxy", tmp_path / "nowhere.sock", "ping").json["proxies"]
    assert [r["code"] for r in rows] == [0, 3]
    assert rows[0]["answer"]["text"] == "pong" and rows[1]["answer"] is None
    both = plane.say("--proxy", plane.control, "ping")
    assert both.code == 0 and both.out.count("pong") == 2


def test_any_tool_can_speak_to_it(plane):
    """A line in, an answer out; half a connection is enough."""
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(20)
        s.connect(plane.control)
        s.sendall(b"ping\nshow version\n")
        s.shutdown(socket.SHUT_WR)
        text = b"".join(iter(lambda: s.recv(65536), b""))
    assert text.startswith(b"+\n pong\n=0\n+\n version"), text
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(20)
        s.connect(plane.control)
        s.sendall(b"x" * 10000)
        text = b"".join(iter(lambda: s.recv(65536), b""))
    assert text == b"!this line is too long\n=1\n"


def cpu_s(pid):
    words = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def test_without_a_free_descriptor_it_waits_for_one(start):
    plane = Plane(start)
    pid = plane.proxy.pid
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    used = {int(name) for name in os.listdir(f"/proc/{pid}/fd")}
    lowest = min(set(range(len(used) + 1)) - used)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (lowest, before[1]))
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(plane.control)
        client.settimeout(20)
        client.sendall(b"show version\n")
        plane.proxy.wait_log(": cannot accept: Too many open files")
        begin = cpu_s(pid)
        time.sleep(0.5)
        assert cpu_s(pid) - begin < 0.25, "the control thread spins"
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        assert client.recv(100)


def test_what_is_shown(plane):
    """The JSON members that programs may rely on."""
    assert plane.ask("/hello").status == 200
    row = plane.backend("a")
    assert row["state"] == "ready" and row["health"] == "up" and row["weight"] == 100
    assert row["limit"] is None and row["endpoint"].endswith("/a.sock")
    numbers = "slots credits in_flight queued requests errors retries pid".split()
    assert all(isinstance(row[n], int) for n in numbers)
    times = "max_wait_ms queue_p50_ms queue_p95_ms queue_p99_ms app_p50_ms app_p95_ms app_p99_ms"
    assert all(isinstance(row[t], float) for t in times.split())
    pool = plane.done("--json", "show", "pools").json["pools"][0]
    assert pool["pool"] == "default" and pool["state"] == "serving"
    assert pool["backends"] == 2 and pool["backends_up"] == 2
    info = plane.done("--json", "show", "info").json["info"]
    assert info["pid"] == plane.proxy.pid and info["edge_threads"] == 2
    stats = plane.done("--json", "show", "stats").json["stats"]
    assert stats["requests"] >= 1
    config = {c["key"]: c for c in plane.done("--json", "show", "config").json["config"]}
    assert config["max-queue"]["changeable"] == "yes"
    assert config["threads"]["value"] == "2"
    listeners = plane.done("--json", "show", "listeners").json["listeners"]
    assert listeners == [{"address": "http://%s:%d" % plane.address}]
    assert "BACKEND" in plane.done("show", "backends").out.splitlines()[0]


def test_requests_and_clients_are_shown_and_can_be_ended(start):
    plane = Plane(start, backends=("a",))
    with Connection(plane.address) as c:
        c.request("GET", "/slow?s=60")

        def running():
            rows = plane.done("--json", "show", "requests").json["requests"]
            return [r for r in rows if r["stage"] == "running"]

        row = until(running, "a running request")[0]
        assert row["backend"] == "default/a" and row["pool"] == "default"
        assert row["target"].startswith("/slow")
        assert row["method"] == "GET" and row["client"] == "127.0.0.1"
        clients = plane.done("--json", "show", "clients").json["clients"]
        assert [r["state"] for r in clients] == ["busy"]
        plane.done("kill-request", row["id"])
        assert c.response().status == 503
        assert "unchanged" in plane.done("kill-request", row["id"]).out
    with Connection(plane.address) as c:
        c.request("GET", "/slow?s=60")
        until(running, "a running request")
        plane.done("kill", "a")
        assert c.response().status == 503
    assert plane.ask("/hello").status == 200


# ---- membership ----


def test_add_drain_ready_remove(start):
    plane = Plane(start, backends=("a",))
    first = plane.generation()
    endpoint = plane.app("b")
    assert "takes requests" in plane.done("add", "b", endpoint, "weight=50").out
    assert plane.generation() == first + 1
    assert plane.backend("b")["weight"] == 50
    assert "unchanged" in plane.done("add", "b", endpoint, "weight=50").out
    assert "other settings" in plane.say("add", "b", endpoint).err
    plane.done("drain", "default/a", "wait")
    for _ in range(20):
        assert plane.ask("/hello").status == 200
    assert plane.backend("a")["requests"] == 0 and plane.backend("b")["requests"] == 20
    row = plane.backend("a")
    assert (row["state"], row["change"]) == ("drain", "drain wait")
    assert row["changed_by"].startswith(f"uid {os.getuid()} pid")
    generation = plane.generation()
    assert "unchanged" in plane.done("drain", "a").out
    assert plane.generation() == generation
    plane.done("ready", "a", f"if-generation={generation}")
    plane.done("remove", "b")
    assert plane.backend("b") is None
    assert "unchanged" in plane.done("remove", "b").out
    assert plane.ask("/hello").status == 200
    events = plane.done("show", "events").out
    for word in ["add", "drain", "ready", "remove"]:
        assert f" {word}" in events
    log = plane.proxy.log()
    assert "drain default/a wait: done" in log and f"admin: uid {os.getuid()} pid" in log


def test_add_leaves_nothing_behind(start):
    plane = Plane(start, backends=("a",))
    generation = plane.generation()
    answer = plane.say("--timeout", "0.5", "add", "b", f"ipc://{start.folder}/nobody.sock")
    assert answer.code == 2 and "nothing was added" in answer.out
    assert plane.backend("b") is None and plane.generation() == generation
    endpoint = plane.app("b")
    plane.done("add", "b", endpoint)


def test_add_waits_for_an_app_server_that_is_starting(start):
    plane = Plane(start, backends=("a",))
    adding = threading.Thread(
        target=lambda: plane.done("add", "b", f"ipc://{start.folder}/b.sock")
    )
    adding.start()
    until(lambda: plane.backend("b"), "b is being added")
    assert plane.backend("b")["state"] == "drain"
    assert "just being added" in plane.say("ready", "b").err
    plane.app("b")
    adding.join(60)
    assert plane.backend("b")["state"] == "ready"


def test_remove_waits_and_gives_up_or_not(start):
    plane = Plane(start, backends=("a", "b"))
    plane.done("drain", "b")
    with Connection(plane.address) as c:
        c.request("GET", "/slow?s=60")
        until(lambda: plane.backend("a")["in_flight"] == 1, "it runs")
        plane.done("ready", "b")
        answer = plane.say("remove", "a", "drain=0.3s")
        assert answer.code == 2 and "stays draining" in answer.out
        assert plane.backend("a")["state"] == "drain"
        assert plane.say("--timeout=0.2", "drain", "a", "wait").code == 2
        assert plane.say("--timeout=0.2", "wait", "drained", "a").code == 2
        plane.done("remove", "a", "drain=0", "force")
        assert plane.backend("a") is None
    plane.done("wait", "removed", "a")
    plane.done("wait", "ready", "1")
    assert plane.ask("/hello").status == 200


def test_weights_and_limits_hold(start):
    plane = Plane(start, threads=1)
    plane.done("weight", "a", "0")
    for _ in range(10):
        assert plane.ask("/hello").status == 200
    assert plane.backend("a")["requests"] == 0
    plane.done("weight", "a", "50%")
    assert plane.backend("a")["weight"] == 50
    plane.done("drain", "b")
    plane.done("limit", "a", "2")
    connections = [Connection(plane.address) for _ in range(5)]
    for c in connections:
        c.request("GET", "/slow?s=60")
    until(lambda: plane.backend("a")["in_flight"] == 2, "two run")
    pool = plane.done("--json", "show", "pools").json["pools"][0]
    assert pool["queued"] == 3 and plane.backend("a")["in_flight"] == 2
    assert "queued" in plane.done("show", "queue").out
    plane.done("limit", "a", "0")
    until(lambda: plane.backend("a")["in_flight"] >= 4, "as it grants")
    for c in connections:
        c.close()


def test_health_is_forced_down_and_left_alone(start):
    plane = Plane(start)
    plane.done("health", "a", "down")
    assert plane.backend("a")["health"] == "forced-down"
    for _ in range(5):
        assert plane.ask("/hello").status == 200
    assert plane.backend("a")["requests"] == 0
    plane.done("health", "a", "auto")
    assert plane.backend("a")["health"] == "up"
    plane.done("maint", "a")
    assert plane.backend("a")["state"] == "maint"
    plane.done("enable", "a")
    assert plane.backend("a")["state"] == "ready"


def test_an_app_server_that_is_killed_is_seen(start):
    plane = Plane(start)
    plane.backends["a"].kill()
    until(lambda: plane.backend("a")["health"] != "up", "a is down")
    assert plane.ask("/hello").status == 200
    plane.app("a")
    plane.until_up("a")
    events = plane.done("show", "events").out
    assert "down: " in events and " default/a " in events


# ---- the pool ----


def test_pause_holds_requests_and_resume_serves_them(start):
    plane = Plane(start)
    plane.done("pause", "max-pause=60s")
    assert "unchanged" in plane.done("pause", "max-pause=60s").out
    with Connection(plane.address) as c:
        c.request("GET", "/hello")
        pools = lambda: plane.done("--json", "show", "pools").json["pools"][0]
        until(lambda: pools()["queued"] == 1, "it waits")
        assert pools()["state"] == "paused" and pools()["in_flight"] == 0
        plane.done("resume")
        assert c.response().status == 200
    plane.done("pause", "max-pause=0.2s")
    assert plane.ask("/hello").status == 503
    plane.done("resume", "default")
    assert plane.ask("/hello").status == 200


def test_pause_returns_when_nothing_runs(start):
    plane = Plane(start)
    with Connection(plane.address) as c:
        c.request("GET", "/slow?s=60")
        until(lambda: sum(plane.backend(n)["in_flight"] for n in "ab") == 1, "it runs")
        answer = plane.say("--timeout", "0.3", "pause")
        assert answer.code == 2 and "still run" in answer.out
    plane.done("pause")  # its client is gone
    plane.done("resume")


def test_a_stopped_pool_answers_503(start):
    plane = Plane(start)
    plane.done("stop", "message=back at noon")
    r = plane.ask("/hello")
    assert r.status == 503 and r["Retry-After"]
    assert b"back at noon" in r.body
    plane.done("resume")
    assert plane.ask("/hello").status == 200


def test_options_are_changed(start):
    plane = Plane(start, "--queue-timeout", "60", backends=("a",))
    plane.done("maint", "a")
    plane.done("set", "queue-timeout=100ms", "max-queue=5")
    assert plane.ask("/hello").status == 503
    config = {c["key"]: c for c in plane.done("--json", "show", "config").json["config"]}
    assert config["queue-timeout"]["value"] == "0.1"
    assert config["queue-timeout"]["source"] == "set"
    plane.done("ready", "a")
    assert plane.ask("/hello").status == 200


def test_counters_and_logs(start):
    plane = Plane(start, "--access-logfile", start.folder / "access.log")
    assert plane.ask("/hello").status == 200
    plane.done("stats", "reset")
    assert plane.backend("a")["requests"] + plane.backend("b")["requests"] == 0
    (start.folder / "access.log").rename(start.folder / "old.log")
    plane.done("log", "reopen")
    assert (start.folder / "access.log").exists()
    plane.done("log", "level", "debug")
    assert plane.say("log", "level", "loud").code == 1


def test_events_are_told_as_they_come(start):
    plane = Plane(start)
    argv = [program("banyan"), "--proxy", plane.control, "--json", "show", "events", "-w"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as watch:
        try:
            plane.done("drain", "a")
            for line in watch.stdout:
                event = json.loads(line)
                if event["event"] == "drain":
                    break
            assert event["object"] == "default/a" and event["generation"] == plane.generation()
        finally:
            watch.kill()
    plane.done("ping")


def test_shutdown_ends_the_proxy(start):
    plane = Plane(start)
    with Connection(plane.address) as c:
        c.request("GET", "/slow?s=0.3")
        until(lambda: sum(plane.backend(n)["in_flight"] for n in "ab") == 1, "it runs")
        assert "finishing" in plane.done("shutdown").out
        assert c.response().status == 200
    assert plane.proxy.wait() == 0
    plane.run()
    plane.done("shutdown", "quick")
    assert plane.proxy.wait() == 0
    assert not os.path.exists(plane.control)


# ---- the state file ----


def test_what_was_decided_holds_after_a_restart(start):
    state = start.folder / "state"
    plane = Plane(start, "--state-file", state)
    endpoint = plane.app("c")
    plane.done("add", "c", endpoint, "weight=30", "limit=8")
    plane.done("maint", "a")
    plane.done("remove", "b")
    plane.done("--ephemeral", "weight", "c", "7")
    assert stat.S_IMODE(state.stat().st_mode) == 0o600
    diff = {d["what"]: d for d in plane.done("--json", "diff").json["differences"]}
    assert set(diff) == {"default/a", "default/b", "default/c"}
    one = diff["default/c"]
    assert "weight=7" in one["running"] and "weight=30" in one["saved"]
    assert one["configured"] is None and diff["default/b"]["running"] == "removed"
    one = diff["default/a"]
    assert "state=maint" in one["running"] and one["running"] == one["saved"]
    assert "state=ready" in one["configured"]
    generation = plane.generation()

    plane.proxy.kill()
    plane.run()
    assert plane.backend("a")["state"] == "maint"
    assert plane.backend("b") is None
    plane.until_up("c")
    row = plane.backend("c")
    assert (row["weight"], row["limit"], row["source"]) == (30, 8, "cli")
    assert generation - 1 <= plane.generation() <= generation
    assert plane.ask("/hello").status == 200
    plane.done("add", "b", f"ipc://{start.folder}/b.sock")
    plane.done("--ephemeral", "drain", "b")
    plane.done("save")
    diff = plane.done("--json", "diff").json["differences"]
    assert all(d["running"] == d["saved"] for d in diff)
    plane.done("pause")
    plane.proxy.kill()
    plane.run()
    assert plane.done("--json", "show", "pools").json["pools"][0]["state"] == "paused"
    assert plane.backend("b")["state"] == "drain"


def test_what_cannot_be_written_is_not_done(start):
    folder = start.folder / "gone"
    folder.mkdir()
    plane = Plane(start, "--state-file", folder / "state")
    plane.done("weight", "a", "50")
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    generation = plane.generation()
    answer = plane.say("drain", "a")
    assert answer.code == 1 and "nothing was changed" in answer.err
    assert plane.backend("a")["state"] == "ready" and plane.generation() == generation
    assert "nothing was changed" in plane.say("remove", "a").err
    assert "nothing was changed" in plane.say("pause").err
    assert plane.done("--json", "show", "pools").json["pools"][0]["state"] == "serving"
    assert "nothing was changed" in plane.say("add", "c", plane.app("c")).err
    assert plane.backend("c") is None
    folder.mkdir()
    plane.done("drain", "a")
    assert "state=drain" in (folder / "state").read_text()


def test_a_damaged_state_file_is_refused(start):
    state = start.folder / "state"
    state.write_text("banyan-state 1 generation=1\nbackend a\n")
    proxy = start(
        program("banyan-proxy"), "--bind", f"127.0.0.1:{free_port()}",
        "--backend", "a=ipc:///nowhere", "--state-file", state,
    )  # fmt: skip
    assert proxy.wait() != 0
    assert "line 2" in proxy.log() and "mend it" in proxy.log()


SAID = ("at", "by", "change")


def plain(text):
    """A state file's decisions, without who and when and how often."""
    out = []
    for line in text.splitlines():
        words = [w for w in shlex.split(line) if w.split("=")[0] not in SAID]
        out.append(" ".join(w for w in words if not w.startswith("generation=")))
    return sorted(out)


def test_the_state_file_survives_kill_9_at_any_instant(start):
    """Each life of the proxy ends at a random instant of a random verb. What it left is what
    was acknowledged last, or what was being done."""
    state = start.folder / "state"
    plane = Plane(start, "--state-file", state, backends=("a", "b", "c"))
    seed = random.randrange(1 << 30)
    print("seed", seed)
    dice = random.Random(seed)
    plane.done("weight", "a", "99")

    def verb():
        name = dice.choice("abc")
        return dice.choice(
            [
                ["drain", name], ["ready", name], ["maint", name],
                ["weight", name, str(dice.randrange(257))],
                ["limit", name, str(dice.randrange(1, 99))],
                ["health", name, dice.choice(["auto", "up", "down"])],
                ["stop", f"message={dice.randrange(999)}"], ["resume"],
                ["remove", name], ["add", name, f"ipc://{start.folder}/{name}.sock"],
            ]
        )  # fmt: skip

    for _ in range(12):
        acknowledged = plain(state.read_text())
        killer = threading.Timer(dice.uniform(0, 0.1), plane.proxy.kill)
        killer.start()
        words = None
        while True:
            words = verb()
            if plane.say("--timeout", "5", *words).code == 3:
                break
            acknowledged = plain(state.read_text())
        killer.join()
        left = plain(state.read_text())
        plane.run()
        loaded = plain(plane.done("show", "state").out)
        assert loaded == left, words
        if left != acknowledged:
            # In progress: one name, or the pool, and no other, is not as it was.
            changed = {line.split()[1] for line in set(left) ^ set(acknowledged)}
            assert len(changed) == 1, (words, changed)
            name = "default" if words[0] in ("stop", "resume") else f"default/{words[1]}"
            assert changed == {name}, words


# ---- under load ----


class Load(threading.Thread):
    """Clients that ask again and again, each on its own connection, until stopped."""

    def __init__(self, address, clients=8):
        super().__init__()
        self.address, self.is_over = address, threading.Event()
        self.served, self.failures = 0, []
        self.clients = [threading.Thread(target=self.ask) for _ in range(clients)]

    def run(self):
        for c in self.clients:
            c.start()
        for c in self.clients:
            c.join()

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

    def stop(self):
        self.is_over.set()
        self.join(60)


def test_app_servers_come_and_go_under_load_without_a_failure(start):
    plane = Plane(start, backends=("a",))
    load = Load(plane.address)
    load.start()
    try:
        for turn in range(4):
            name = f"n{turn}"
            plane.done("add", name, plane.app(name))
            until(lambda: (plane.backend(name) or {}).get("requests", 0) > 0, "traffic")
            plane.done("drain", "a", "wait")
            plane.done("weight", name, "50%")
            served = load.served
            until(lambda: load.served > served + 20, "others serve")
            plane.done("ready", "a")
            plane.done("remove", name)
    finally:
        load.stop()
    assert load.failures == [] and load.served > 100


def test_wrk_sees_no_failure(start):
    wrk = shutil.which("wrk")
    if wrk is None:
        pytest.skip("wrk is not installed")
    plane = Plane(start)
    url = "http://%s:%d/hello" % plane.address
    argv = [wrk, "-t1", "-c8", "-d5s", url]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as load:
        endpoint = plane.app("c")
        while load.poll() is None:
            plane.done("add", "c", endpoint)
            plane.done("drain", "b", "wait")
            plane.done("ready", "b")
            plane.done("remove", "c")
        text = load.stdout.read()
    assert "Non-2xx" not in text and "Socket errors" not in text, text


def test_serve_says_how_to_reach_its_proxy(site_of):
    site = site_of("apps.dispatch", "--chdir", str(HERE), "--workers", "1")
    path = re.search(r"control: banyan --proxy (\S+) ", site.log()).group(1)
    argv = [program("banyan"), "--proxy", path, "--json", "show", "backends"]
    rows = json.loads(subprocess.check_output(argv, timeout=20))["backends"]
    assert [r["backend"] for r in rows] == ["default/app-0"]
    found = subprocess.run(
        [program("banyan"), "ping"],
        capture_output=True,
        text=True,
        timeout=20,
        env={k: v for k, v in os.environ.items() if k != "BANYAN_PROXY"},
    )
    # The one of this user, unless others run as well.
    assert found.returncode == 0 or path in found.stderr


# ---- Prometheus ----


def scrape(address):
    with Connection(address) as c:
        r = c.ask("GET", "/metrics")
    assert r.status == 200
    assert r["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    return r.body.decode()


def parse_metrics(text):
    """{name: type}, {(name, labels): value}; each metric's lines stand together."""
    types, samples, done, family = {}, {}, set(), None
    for line in text.splitlines():
        if line.startswith("# HELP "):
            family = line.split()[2]
            assert family not in done and len(line.split()) > 3
            done.add(family)
        elif line.startswith("# TYPE "):
            name, kind = line.split()[2:]
            assert name == family
            types[name] = kind
        else:
            m = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line)
            name, labels, value = m.groups()
            suffix = "(_bucket|_sum|_count)" if types[family] == "histogram" else ""
            assert re.fullmatch(family + suffix, name), line
            assert (name, labels) not in samples
            samples[name, labels] = float(value)
    return types, samples


def test_prometheus_gets_its_metrics(start):
    address = ("127.0.0.1", free_port())
    plane = Plane(start, "--metrics", "%s:%d" % address)
    before = parse_metrics(scrape(address))[1]
    for _ in range(10):
        assert plane.ask("/hello").status == 200
    plane.done("drain", "b")
    types, samples = parse_metrics(scrape(address))
    assert types["banyan_edge_requests_total"] == "counter"
    key = ("banyan_edge_requests_total", None)
    assert samples[key] == before[key] + 10
    of = '{pool="default",backend="%s"}'.strip("{}")
    sent = [samples["banyan_backend_requests_total", of % n] for n in "ab"]
    assert sum(sent) == 10
    assert samples["banyan_backend_up", of % "a"] == 1
    assert samples["banyan_backend_ready", of % "b"] == 0
    for name in ("banyan_backend_queue_seconds", "banyan_backend_app_seconds"):
        assert types[name] == "histogram"
        for n, total in zip("ab", sent, strict=True):
            buckets = [v for (k, labels), v in samples.items()
                       if k == name + "_bucket" and f'backend="{n}"' in labels]  # fmt: skip
            assert buckets == sorted(buckets) and buckets[-1] == total
            assert samples[name + "_count", of % n] == total
    with Connection(address) as c:
        assert c.ask("GET", "/hello").status == 404
    with Connection(address) as c:
        assert c.ask("POST", "/metrics", body=b"").status == 404


def test_a_thousand_backends_are_no_burden(start):
    """What an operator waits for, with what one edge thread can be told."""
    plane = Plane(start, backends=())
    plane.proxy.stop()
    state = start.folder / "state"
    rows = "".join(f"backend b{i} ipc://{start.folder}/none-{i}.sock\n" for i in range(1000))
    state.write_text(f"banyan-state 1 generation=5\npool default serving\n{rows}end\n")
    plane.argv += ["--state-file", state]
    plane.run()
    assert len(plane.done("--json", "show", "backends").json["backends"]) == 1000
    assert plane.done("ping").out == "pong\n"
    plane.done("remove", "b500")
    assert len(plane.done("--json", "show", "backends").json["backends"]) == 999


# ---- pools of a configuration file ----


def test_pools_of_a_file_are_shown(start):
    file, address = start.folder / "proxy.yaml", ("127.0.0.1", free_port())
    file.write_text(f"""
pools:
  - name: web
    backends:
      - name: w1
        endpoint: ipc://{start.folder}/w1.sock
        weight: 50
      - name: w2
        endpoint: ipc://{start.folder}/w2.sock
  - name: api
    backends:
      - name: w1
        endpoint: ipc://{start.folder}/x.sock
routes:
  - path: /api
    pool: api
  - pool: web
""")
    options = ("--config", file, "--metrics", "%s:%d" % address)
    plane = Plane(start, *options, backends=())
    pools = plane.done("--json", "show", "pools").json["pools"]
    counts = {p["pool"]: p["backends"] for p in pools}
    assert counts["web"] == 2 and counts["api"] == 1
    rows = plane.done("--json", "show", "backends").json["backends"]
    assert {r["backend"]: r["weight"] for r in rows} == {
        "web/w1": 50,
        "web/w2": 100,
        "api/w1": 100,
    }
    assert {r["source"] for r in rows} == {"file"}
    assert rows[0]["endpoint"] == f"ipc://{start.folder}/w1.sock"
    assert "web/w1, api/w1" in plane.say("drain", "w1").err
    assert [r["pool"] for r in plane.done("--json", "show", "queue", "api").json["queue"]] == ["api"]
    assert [r["pool"] for r in plane.done("--json", "show", "pools", "web").json["pools"]] == ["web"]
    of_api = plane.done("--json", "show", "backends", "api").json["backends"]
    assert [r["backend"] for r in of_api] == ["api/w1"]
    plane.done("maint", "api/w1")
    assert plane.done("--json", "show", "backends", "api/w1").json["backends"][0]["state"] == "maint"
    samples = parse_metrics(scrape(address))[1]
    assert samples["banyan_backend_weight", 'pool="web",backend="w1"'] == 50

    text = file.read_text()
    file.write_text(text.replace("weight: 50", "weight: 60"))
    assert "w1" in plane.done("reload").out
    rows = plane.done("--json", "show", "backends").json["backends"]
    assert rows[0]["weight"] == 60
    file.write_text(text.replace("weight: 50", "weight: many"))
    answer = plane.say("reload")
    assert answer.code == 1 and "weight" in answer.err
    rows = plane.done("--json", "show", "backends").json["backends"]
    assert rows[0]["weight"] == 60


def test_a_proxy_that_serve_restarts_knows_what_was_decided(site_of, start):
    address = ("127.0.0.1", free_port())
    options = ["--state-file", start.folder / "state", "--metrics", "%s:%d" % address]
    site = site_of("apps.dispatch", "--chdir", str(HERE), "--workers", "2", *options)
    path = re.search(r"control: banyan --proxy (\S+) ", site.log()).group(1)
    base = [program("banyan"), "--proxy", path]
    subprocess.run([*base, "maint", "app-1"], check=True, timeout=20)
    os.kill(site.proxy(), signal.SIGKILL)

    def rows():
        done = subprocess.run(
            [*base, "--json", "show", "backends"], capture_output=True, text=True, timeout=20
        )
        return done.returncode == 0 and json.loads(done.stdout)["backends"]

    found = until(rows, "the proxy is back")
    assert [r["state"] for r in found] == ["ready", "maint"]
    samples = parse_metrics(scrape(address))[1]
    assert samples["banyan_backend_ready", 'pool="default",backend="app-1"'] == 0
