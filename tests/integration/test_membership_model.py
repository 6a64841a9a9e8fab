# SPDX-License-Identifier: MIT
"""Random verbs, reloads, deaths of the proxy and of app servers, under load, beside a model of
the membership. After each step the proxy says what the model says, each edge thread has it,
and somebody answers where somebody can.

BANYAN_MODEL_SECONDS (default 20): for how long. BANYAN_MODEL_SEED: a run that is to be repeated.
"""

import copy
import json
import os
import pathlib
import random
import re
import socket
import threading
import time

from conftest import HERE, PYTHON, Connection, free_port, program, until
from membership_model import Model, Refused
from test_admin import parse_metrics, scrape

SECONDS = float(os.environ.get("BANYAN_MODEL_SECONDS", "20"))
NAMES = "abcd"
POOLS = {"web": 4, "api": 3}  # app servers that there are
STATES = {"pause": "paused", "resume": "serving", "stop": "stopped"}


class Gone(Exception):
    """The proxy ended before it answered."""


class World:
    def __init__(self, start, seed):
        self.start, self.dice = start, random.Random(seed)
        self.model, self.steps = Model(), []
        self.folder = pathlib.Path(start.folder)
        self.control, self.path = self.folder / "control", self.folder / "proxy.yaml"
        self.address, self.metrics = (("127.0.0.1", free_port()) for _ in range(2))
        self.apps = {}  # endpoint: its process, None: down
        self.endpoints = {
            pool: [f"ipc://{self.folder}/{pool}{n}.sock" for n in range(count + 1)]
            for pool, count in POOLS.items()
        }  # the last of each: nobody
        for pool, count in POOLS.items():
            for endpoint in self.endpoints[pool][:count]:
                self.start_app(pool, endpoint)
        for process in self.apps.values():
            process.wait_log("ready")
        self.file = {"web": {}, "api": {}}
        self.write(self.random_file())
        self.life()
        self.model.start(self.file)

    # ---- the parts ----

    def start_app(self, pool, endpoint):
        argv = [PYTHON, HERE / "second_backend.py", endpoint, "--pool", pool]
        self.apps[endpoint] = self.start(*argv)

    def life(self):
        self.proxy = self.start(
            *(program("banyan-proxy"), "--config", self.path, "--threads", 2),
            *("--bind", "%s:%d" % self.address, "--control", self.control),
            *("--metrics", "%s:%d" % self.metrics, "--queue-timeout", "0.3"),
            *("--state-file", self.folder / "state"),
        )
        self.proxy.wait_log("listening on")
        self.generation = 0

    def random_file(self):
        """Another configuration, not far from the present one."""
        file = copy.deepcopy(self.file)
        if self.dice.random() < 0.15 and len(file) > 1:
            file.pop("api")
        elif "api" not in file:
            file["api"] = {}
        for _ in range(self.dice.randrange(1, 4)):
            pool = self.dice.choice(list(file))
            name = self.dice.choice(NAMES)
            if self.dice.random() < 0.35:
                file[pool].pop(name, None)
            else:
                weight = self.dice.choice([100, 100, 50])
                limit = self.dice.choice([None, 4])
                file[pool][name] = (self.dice.choice(self.endpoints[pool]), weight, limit)
        return file

    def write(self, file):
        self.file = file
        lines = ["pools:"]
        for pool, backends in file.items():
            lines += [f"- name: {pool}", "  backends: " + ("" if backends else "[]")]
            for name, (endpoint, weight, limit) in backends.items():
                tail = f", limit: {limit}" if limit else ""
                lines.append(f"  - {{name: {name}, endpoint: '{endpoint}', weight: {weight}{tail}}}")
        lines += ["routes:"] + [f"- {{host: {pool}.test, pool: {pool}}}" for pool in file]
        self.path.write_text("\n".join(lines) + "\n")

    def say(self, line):
        """(code, text) of one line; as JSON the object."""
        self.steps.append(line)
        try:
            with socket.socket(socket.AF_UNIX) as s:
                s.settimeout(60)
                s.connect(str(self.control))
                s.sendall(line.encode() + b"\n")
                s.shutdown(socket.SHUT_WR)
                said = b"".join(iter(lambda: s.recv(1 << 16), b"")).decode()
        except OSError as e:
            raise Gone(str(e)) from e
        m = re.search(r"^=(\d)$", said, re.M)
        if not m:
            raise Gone(said)
        return int(m[1]), "\n".join(x[1:] for x in said.splitlines() if x[0] in " !")

    def see(self, what):
        code, text = self.say(f"--json show {what}")
        self.steps.pop()
        assert code == 0, text
        return json.loads(text)

    # ---- looking ----

    def seen(self):
        answer = self.see("backends")
        rows = {}
        for r in answer["backends"]:
            health = r["health"]
            rows[r["backend"]] = {k: r[k] for k in ("endpoint", "source", "state", "weight", "limit")}
            forced = health.removeprefix("forced-") if health.startswith("forced-") else None
            rows[r["backend"]]["forced"] = forced
        states = {p["pool"]: p["state"] for p in self.see("pools")["pools"]}
        states = {n: s for n, s in states.items() if n in self.file}
        options = {c["key"]: c["value"] for c in self.see("config")["config"] if c["source"] == "set"}
        assert answer["generation"] >= self.generation, "the generation went back"
        self.generation = answer["generation"]
        return rows, states, options

    @staticmethod
    def expected(model):
        return model.rows(), model.states(), model.settings

    def check(self):
        seen = self.seen()
        assert seen == self.expected(self.model), self.explain(seen, self.model)
        self.check_edges()

    def explain(self, seen, model):
        """name: (seen, wanted), of what differs."""
        both = zip(seen, self.expected(model))
        return "\n".join(
            f"{n}: {s.get(n)}, not {w.get(n)}"
            for s, w in both
            for n in {*s, *w}
            if s.get(n) != w.get(n)
        )

    def check_edges(self):
        """Each number that the edge threads report is as ordered."""
        samples = parse_metrics(scrape(self.metrics))[1]
        there = {}
        for (name, labels), value in samples.items():
            if name.startswith("banyan_backend_") and labels:
                pool, backend = re.search(r'pool="([^"]*)",backend="([^"]*)"', labels).groups()
                if name.removeprefix("banyan_backend_") in ("weight", "limit", "ready"):
                    there.setdefault(f"{pool}/{backend}", {})[name[15:]] = value
        want = {}
        for name, row in self.model.rows().items():
            ready = row["state"] == "ready" and row["forced"] != "down"
            want[name] = {"weight": row["weight"], "ready": ready, "limit": row["limit"] or 0}
        there = {n: r for n, r in there.items() if n.split("/")[0] in self.file}
        assert there == want, self.steps[-5:]

    # ---- doing ----

    def member(self):
        pool = self.dice.choice(list(self.file))
        return pool, self.dice.choice(NAMES)

    def verb(self):
        """A line, and what it does to a model: a list of steps, the last of which is its end."""
        dice, e = self.dice, self.dice.random() < 0.2
        pool, name = self.member()
        full, flag = f"{pool}/{name}", "--ephemeral " if e else ""

        def decide(**what):
            return [lambda m: m.decide(pool, name, e, **what)]

        kind = dice.choice(
            "drain maint ready ready weight weight auto limit health add add add remove pool set".split()
        )
        if kind in ("drain", "maint", "ready"):
            return f"{flag}{kind} {full}", decide(state=kind)
        if kind == "weight":
            weight = dice.choice([0, 1, 50, 100, 256])
            return f"{flag}weight {full} {weight}", decide(weight=weight)
        if kind == "auto":
            key = dice.choice(["weight", "limit"])
            return f"{flag}{key} {full} auto", [lambda m: m.undecide(pool, name, e, key)]
        if kind == "limit":
            limit = dice.choice([0, 2, 7])
            return f"{flag}limit {full} {limit}", decide(limit=limit or None)
        if kind == "health":
            health = dice.choice(["auto", "up", "down"])
            return f"{flag}health {full} {health}", decide(health=health)
        if kind == "add":
            endpoint = dice.choice(self.endpoints[pool])
            weight, limit = dice.choice([None, 30]), dice.choice([None, 5])
            tail = (f" weight={weight}" if weight else "") + (f" limit={limit}" if limit else "")
            comes_up = self.apps.get(endpoint) is not None
            patience = 20 if comes_up else 0.05
            line = f"--timeout {patience} {flag}add {full} {endpoint}{tail}"
            return line, [lambda m: m.add(pool, name, endpoint, weight, limit, e, comes_up)]
        if kind == "remove":

            def drain(m):
                if name in m.pools[pool].here and m.find(pool, name).row()["state"] == "ready":
                    m.decide(pool, name, e, state="drain")

            steps = [drain, lambda m: m.remove(pool, name, e)]
            return f"{flag}remove {full} drain=20s", steps
        if kind == "set":
            key, value = dice.choice(["max-queue", "retry-budget"]), dice.choice(["5", "50", ""])
            return f"{flag}set {key}={value}", [lambda m: m.set_option(key, value, e)]
        verb = dice.choice(["pause", "resume", "resume", "stop"])
        which = dice.choice([[pool], list(self.file)])
        tail = f" {pool}" if len(which) == 1 else ""
        tail += " max-pause=2s" if verb == "pause" else ""
        return f"{flag}{verb}{tail}", [lambda m: m.set_pools(which, STATES[verb], e)]

    def follow(self, model, steps):
        """The models after each step, and the code and the words that are right."""
        models, code, says = [], 0, ""
        for step in steps:
            model = copy.deepcopy(model)
            try:
                if step(model) is False:
                    code = 2
            except Refused as e:
                code, says = 1, str(e)
            models.append(model)
        return models, code, says

    def do_verb(self):
        line, steps = self.verb()
        models, want, says = self.follow(self.model, steps)
        code, text = self.say(line)
        assert code == want and says in text, (line, code, text)
        self.model = models[-1]

    def do_stale(self):
        line, _ = self.verb()
        code, text = self.say(f"{line} if-generation=9999999")
        assert code == 1 and "look again" in text

    def do_reload(self):
        self.write(self.random_file())
        code, text = self.say("reload")
        assert code == 0, text
        self.model.reload(self.file)

    def do_bad_reload(self):
        good = self.path.read_text()
        self.path.write_text(good + "frob: 1\n")
        code, text = self.say("reload")
        assert code == 1 and "frob" in text
        self.path.write_text(good)

    def do_save(self):
        assert self.say("save")[0] == 0
        self.model.save()

    def do_diff(self):
        code, text = self.say("--json diff")
        assert code == 0
        differ = {d["what"] for d in json.loads(text)["differences"] if d["running"] != d["saved"]}
        saved = Model()
        saved.pools = self.model.saved_pools
        rows, kept = self.model.rows(), saved.rows()
        # Where it is from is not compared.
        plain = lambda r: r and {k: v for k, v in r.items() if k != "source"}
        want = {n for n in {*rows, *kept} if plain(rows.get(n)) != plain(kept.get(n))}
        differ = {d for d in differ if d.split("/")[0] in self.file}
        assert differ == want, {n: (rows.get(n), kept.get(n)) for n in differ ^ want}

    def die(self, candidates):
        """It was killed: it comes back as one of these."""
        self.proxy.wait()
        self.life()
        for m in candidates:
            m.start(self.file)
        seen = self.seen()
        found = [m for m in candidates if self.expected(m) == seen]
        assert found, "\nor\n".join(self.explain(seen, m) for m in candidates)
        self.model = found[-1]

    def do_kill(self):
        self.proxy.popen.kill()
        self.die([self.model])

    def do_kill_on_the_way(self):
        line, steps = self.verb()
        models, want, _ = self.follow(self.model, steps)
        killer = threading.Timer(self.dice.uniform(0, 0.03), self.proxy.popen.kill)
        killer.start()
        try:
            code, text = self.say(line)
            assert code == want, (line, code, text)
            models = models[-1:]
        except Gone:
            models = [self.model, *models]
        killer.join()
        self.die(models)

    def do_crash(self):
        """An app server dies; later another takes its place."""
        endpoint = self.dice.choice([e for e, p in self.apps.items() if p] or [None])
        down = [e for e, p in self.apps.items() if not p]
        if down and (len(down) > 2 or self.dice.random() < 0.5):
            endpoint = self.dice.choice(down)
            self.start_app("web" if "/web" in endpoint else "api", endpoint)
            self.apps[endpoint].wait_log("ready")
            self.steps.append(f"up {endpoint}")
        elif endpoint:
            self.apps[endpoint].kill()
            self.apps[endpoint] = None
            self.steps.append(f"down {endpoint}")

    def step(self):
        does = (
            [self.do_verb] * 24 + [self.do_reload] * 4 + [self.do_crash] * 3
            + [self.do_kill, self.do_kill_on_the_way, self.do_kill_on_the_way]
            + [self.do_stale, self.do_bad_reload, self.do_save, self.do_diff, self.do_diff]
        )  # fmt: skip
        self.dice.choice(does)()

    def end_well(self):
        """Each pool gets one that lives; it answers."""
        for endpoint in [e for e, p in self.apps.items() if not p]:
            self.start_app("web" if "/web" in endpoint else "api", endpoint)
        assert self.say("resume")[0] == 0
        assert self.say("set max-queue= retry-budget=")[0] == 0
        for pool in self.file:
            code, text = self.say(f"--timeout 20 add {pool}/last {self.endpoints[pool][0]}")
            assert code == 0, text
            assert self.say(f"wait ready 1 {pool}")[0] == 0
            assert ask(self.address, pool) == 200


def ask(address, pool):
    """The status of an answer of this pool."""
    with Connection(address) as c:
        c.send(f"GET /hello HTTP/1.1\r\nHost: {pool}.test\r\n\r\n".encode())
        return c.response().status


class Load(threading.Thread):
    """A client that asks again and again. Anything may be refused; nothing may hang."""

    def __init__(self, world, pool):
        super().__init__(daemon=True)
        self.world, self.pool, self.is_over = world, pool, threading.Event()
        self.served, self.failure = 0, None

    def run(self):
        while not self.is_over.wait(0.01):
            try:
                status = ask(self.world.address, self.pool)
                if status not in (200, 404, 502, 503):
                    self.failure = f"status {status}"
                self.served += status == 200
            except TimeoutError as e:
                self.failure = f"hangs: {e}"
            except (OSError, ConnectionError, ValueError):
                pass  # the proxy was killed


def test_the_membership_is_what_the_model_says(start):
    seed = int(os.environ.get("BANYAN_MODEL_SEED", random.randrange(1 << 30)))
    print(f"BANYAN_MODEL_SEED={seed}")
    world = World(start, seed)
    loads = [Load(world, pool) for pool in POOLS]
    for load in loads:
        load.start()
    end, count = time.monotonic() + SECONDS, 0
    try:
        world.check()
        while time.monotonic() < end:
            world.step()
            world.check()
            count += 1
        world.end_well()
    except BaseException:
        print("\n".join(world.steps[-40:]))
        raise
    finally:
        for load in loads:
            load.is_over.set()
    for load in loads:
        load.join(30)
        assert load.failure is None, load.failure
    print(f"{count} steps")
    assert count > SECONDS and sum(load.served for load in loads) > 0
    until(lambda: not any(load.is_alive() for load in loads), "the clients end")
