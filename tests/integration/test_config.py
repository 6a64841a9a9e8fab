# SPDX-License-Identifier: MIT
"""A configuration file: several applications behind one proxy, chosen by host and path;
--check; what SIGHUP changes under load, and what it does not."""

import json
import pathlib
import re
import shutil
import signal
import subprocess

import pytest
import requests
from conftest import HERE, PYTHON, ROOT, Connection, free_port, program, until

TWO_POOLS = """
threads: 2
queue-timeout: 60
pools:
  - name: web
    backends: [{name: w1, endpoint: "@w1"}]
  - name: api
    request-timeout: 50
    backends: [{name: a1, endpoint: "@a1"}]
routes:
  - host: api.test
    pool: api
  - host: "*.web.test"
    pool: web
  - path: /api
    pool: api
  - path: /web
    pool: web
"""


class Served:
    """A proxy with a file, whose pools' app servers answer with their names."""

    def __init__(self, start, text, *options):
        self.start, self.apps = start, {}
        self.address = ("127.0.0.1", free_port())
        self.path = pathlib.Path(start.folder) / f"proxy-{self.address[1]}.yaml"
        self.write(text)
        self.proxy = start(
            program("banyan-proxy"),
            *("--bind", "%s:%d" % self.address, "--config", self.path, *options),
        )
        self.proxy.wait_log("listening on")

    def write(self, text):
        self.path.write_text(re.sub(r"@(\w+)", r"ipc://%s/\1.sock" % self.start.folder, text))

    def app(self, name, pool):
        folder = str(HERE / "apps")
        self.apps[name] = self.start(
            *(program("banyan-app"), "named:app", "--python", PYTHON, "--pool", pool),
            *("--threads", 4, "--bind", f"ipc://{self.start.folder}/{name}.sock"),
            env={"APP_NAME": name},
            cwd=folder,
        )
        return self.apps[name]

    def get(self, path="/", host="any.test"):
        with Connection(self.address) as c:
            c.send(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            return c.response("GET")

    def says(self, path="/", host="any.test"):
        answer = self.get(path, host)
        return answer.body.decode() if answer.status == 200 else answer.status

    def reload(self, *want):
        """SIGHUP, then these lines in the log, which were not there before."""
        before = {w: self.proxy.log().count(w) for w in want}
        self.proxy.signal(signal.SIGHUP)
        for w in want:
            until(lambda w=w: self.proxy.log().count(w) > before[w], w)


@pytest.fixture
def served(start):
    def serve(text, *options, apps=()):
        s = Served(start, text, *options)
        for name, pool in apps:
            s.app(name, pool)
        return s

    serve.folder = pathlib.Path(start.folder)
    return serve


@pytest.fixture
def two_pools(served):
    return served(TWO_POOLS, apps=[("w1", "web"), ("a1", "api")])


def check(path):
    done = subprocess.run(
        [program("banyan-proxy"), "--config", path, "--check"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout + done.stderr


def test_host_and_path_choose_the_application(two_pools):
    says = two_pools.says
    assert says("/", "api.test") == "a1"
    assert says("/web", "api.test") == "a1"
    assert says("/", "www.web.test:80") == "w1"
    assert says("/api/x?y", "www.web.test") == "w1"
    assert says("/api", "other.test") == "a1"
    assert says("/api/users") == "a1"
    assert says("/%61pi/users") == "a1"
    assert says("/web/") == "w1"
    for path in ("/", "/apiary", "/webs", "//api"):
        assert says(path) == 404


def test_one_connection_reaches_every_pool(two_pools):
    with Connection(two_pools.address) as c:
        for path, want in [("/api", b"a1"), ("/web", b"w1"), ("/", 404), ("/api", b"a1")]:
            answer = c.ask("GET", path)
            assert answer.body == want if isinstance(want, bytes) else answer.status == want


def test_a_reload_changes_the_policy(served):
    text = """
        pools:
          - name: web
            balance: hash
            backends: [{name: w1, endpoint: "@w1"}, {name: w2, endpoint: "@w2"}]
        threads: 1
        """
    s = served(text, apps=[("w1", "web"), ("w2", "web")])
    until(lambda: s.proxy.log().count(" is up (pid ") == 2, "both")
    assert len({s.says() for _ in range(10)}) == 1
    s.write(text.replace("balance: hash", "balance: round_robin"))
    s.reload('pool web: balance: "hash" -> "round_robin"\n')
    answers = [s.says() for _ in range(10)]
    assert sorted(answers) == ["w1"] * 5 + ["w2"] * 5


def test_a_pool_has_its_own_queue_and_limits(served):
    s = served(
        """
        pools:
          - {name: web, backends: [{endpoint: "@w1"}]}
          - name: dead
            queue-timeout: 200ms
            backends: [{endpoint: "@nobody"}]
          - name: full
            max-queue: 0
            backends: [{endpoint: "@nobody2"}]
          - name: slow
            request-timeout: 200ms
            backends: [{endpoint: "@s1"}]
        routes:
          - {pool: web}
          - {path: /dead, pool: dead}
          - {path: /full, pool: full}
          - {path: /s, pool: slow}
        """.replace("\n        ", "\n"),
        apps=[("w1", "web"), ("s1", "slow")],
    )
    assert s.says("/") == "w1"
    assert s.says("/dead") == 503
    assert s.says("/full") == 503
    assert s.says("/s/x") == "s1"
    assert s.says("/s/slow?5") == 504
    assert s.says("/slow?0.5") == "w1"


def test_an_app_server_of_another_pool_is_refused(served):
    s = served(
        TWO_POOLS.replace("queue-timeout: 60", "queue-timeout: 1"), apps=[("w1", "api")]
    )
    s.proxy.wait_log('it says "api" (--pool), here it is one of "web"')
    assert s.says("/web") == 503
    s.apps["w1"].stop()
    s.app("w1", "web")
    until(lambda: s.says("/web") == "w1", "the right one")


def test_the_access_log_names_the_pool(served):
    s = served(TWO_POOLS, "--access-logfile", "-", apps=[("w1", "web"), ("a1", "api")])
    assert s.says("/api/1") == "a1" and s.says("/none") == 404
    s.proxy.wait_log("/api/1")
    s.proxy.wait_log("/none")
    log = s.proxy.log()
    assert re.search(r"GET /api/1 .* pool=api backend=a1 ", log)
    assert re.search(r"GET /none .* pool=- backend=- ", log)


def test_the_access_log_says_how_long_a_request_waited(start):
    """Also of one that never left the queue."""
    bind = f"127.0.0.1:{free_port()}"
    argv = ["--bind", bind, "--queue-timeout", "1", "--access-logfile", "-", "--log-format", "json"]
    proxy = start(program("banyan-proxy"), *argv, "--backend", f"ipc://{start.folder}/nobody")
    proxy.wait_log("listening on")
    assert requests.get(f"http://{bind}/late", timeout=20).status_code == 503
    proxy.wait_log('"target":"/late"')
    line = next(row for row in proxy.log().splitlines() if '"target":"/late"' in row)
    waited = json.loads(line)["queue_s"]
    assert 0.9 < waited < json.loads(line)["request_s"] + 0.01


def test_links_that_take_most_of_the_open_files_are_warned_of(start):
    names = ", ".join(f'{{endpoint: "ipc://{start.folder}/{i}"}}' for i in range(40))
    path = pathlib.Path(start.folder) / "many.yaml"
    path.write_text(f"threads: 2\npools:\n- name: many\n  backends: [{names}]\n")
    argv = f'"{program("banyan-proxy")}" --config {path} --bind 127.0.0.1:{free_port()}'
    proxy = start("/bin/sh", "-c", f"ulimit -n 600; exec {argv}")
    proxy.wait_log("listening on")
    assert "2 edge threads to 40 app servers take 320 of 600 open files" in proxy.log()
    assert proxy.stop() == 0


def test_the_example_is_good():
    code, said = check(ROOT / "deploy" / "examples" / "proxy.yaml")
    assert (code, said.count("is good: pools 2, app servers 3, routes 5")) == (0, 1)


def test_check_says_every_mistake_with_its_place(tmp_path):
    path = tmp_path / "proxy.yaml"
    path.write_text(
        "threads: many\n"
        "pools:\n"
        "  - name: web\n"
        "    backends:\n"
        "      - endpoint: nowhere\n"
        "routes:\n"
        "  - {path: /x, pool: wep}\n"
    )
    code, said = check(path)
    assert code == 2
    assert f'{path}:1:10: threads: "many" is not accepted; expected a whole' in said
    assert f'{path}:5:19: endpoint: "nowhere" is no endpoint; expected ipc:///' in said
    assert f'{path}:7:22: pool: no pool is called "wep"; expected the name' in said
    path.write_text("thread: 2\n")
    code, said = check(path)
    assert (code, said) == (
        2,
        f'banyan-proxy: {path}:1:1: unknown key "thread"; expected pools, routes, or an '
        "option of banyan-proxy --help\n",
    )
    assert check(tmp_path / "none.yaml")[0] == 2


def test_a_bad_file_changes_nothing(two_pools):
    s = two_pools
    assert s.says("/api") == "a1"
    s.write(TWO_POOLS.replace("pool: api", "pool: ape") + "queue-timeout: 1\n")
    s.reload("reload: nothing has changed")
    assert f'reload: {s.path}:' in s.proxy.log()
    assert s.says("/api") == "a1"
    s.path.unlink()
    s.reload("reload: nothing has changed")
    assert s.says("/web") == "w1"
    s.write(TWO_POOLS)
    s.reload("is in force, changes: 0")


def test_a_reload_changes_pools_routes_and_options(two_pools):
    s = two_pools
    with Connection(s.address) as kept:
        assert kept.ask("GET", "/api").body == b"a1"
        kept.request("GET", "/web/slow?2")
        until(lambda: s.says("/web") == "w1", "web")
        s.app("n1", "new")
        s.write(
            """
threads: 3
max-target: 100
pools:
  - name: api
    request-timeout: 200ms
    backends: [{name: a1, endpoint: "@a1", weight: 50}]
  - name: new
    backends: [{name: n1, endpoint: "@n1"}]
routes:
  - {path: /api, pool: api}
  - {path: /new, pool: new}
"""
        )
        s.reload(
            'reload: threads: "2" -> "3" takes a restart',
            'reload: max-target: "16384" -> "100"',
            "reload: pool web: removed",
            'reload: pool api: request-timeout: "50" -> "0.2"',
            "reload: api/a1: weight 100 -> 50",
            "reload: new/n1: added at ipc://",
            "reload: routes: 4 -> 2",
            "is in force, changes: ",
        )
        until(lambda: s.says("/new") == "n1", "the new pool")
        assert s.says("/web") == 404
        assert s.says("/api/slow?5") == 504
        assert s.says("/api/" + 100 * "x") == 414
        # What ran in the pool that left goes on, and so does its connection.
        assert kept.response("GET").body == b"w1"
        assert kept.ask("GET", "/api").body == b"a1"


def test_what_a_paused_pool_holds_is_served_when_the_pool_leaves(served):
    control = served.folder / "control.sock"
    s = served(TWO_POOLS, "--control", control, apps=[("w1", "web"), ("a1", "api")])

    def say(*words):
        argv = [program("banyan"), "--proxy", control, *words]
        return subprocess.check_output(argv, timeout=60, text=True)

    assert s.says("/api") == "a1" and s.says("/web") == "w1"
    say("pause", "api", "max-pause=1h")
    with Connection(s.address) as c:
        c.request("GET", "/api")
        until(lambda: "/api" in say("show", "requests"), "it waits")
        s.write(TWO_POOLS.split("  - name: api")[0] + "routes: [{pool: web}]\n")
        say("reload")
        assert c.response().body == b"a1"


def test_reloads_under_load_fail_no_request(two_pools):
    wrk = shutil.which("wrk") or pytest.skip("wrk is not installed")
    s = two_pools
    assert s.says("/web") == "w1" and s.says("/api") == "a1"
    s.app("w2", "web")
    url = "http://%s:%d" % s.address
    loads = [
        subprocess.Popen(
            [wrk, "-t1", "-c8", "-d6s", "--timeout", "30s", url + path],
            stdout=subprocess.PIPE,
            text=True,
        )
        for path in ("/web", "/api")
    ]
    entry = '{name: w1, endpoint: "@w1"}'
    second = TWO_POOLS.replace(entry, '{name: w2, endpoint: "@w2"}')
    both = TWO_POOLS.replace(entry, entry + ', {name: w2, endpoint: "@w2"}')
    moved = TWO_POOLS.replace(entry, '{name: w1, endpoint: "@w2"}')
    reloads = 0
    while loads[0].poll() is None or loads[1].poll() is None:
        for text in (both, second, both, TWO_POOLS, moved, TWO_POOLS + "body-timeout: 7\n"):
            s.write(text)
            s.reload("is in force, changes: ")
            reloads += 1
    assert reloads >= 6
    for load in loads:
        said = load.communicate()[0]
        assert load.returncode == 0
        assert "Non-2xx" not in said and "Socket errors" not in said, said
        assert int(re.search(r"(\d+) requests in", said)[1]) > 0
