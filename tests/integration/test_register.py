# SPDX-License-Identifier: MIT
"""App servers that register themselves: `banyan-app --register tcp://PROXY`, with one proxy or
several, under load, and with everybody dying in turn."""

import os
import pathlib
import signal
import subprocess

import pytest
from conftest import HERE, PYTHON, Connection, children, free_port, program, until
from test_admin import Load, Plane
from test_remote import Peer

LEASE_S = 2


class Proxy(Plane):
    """A proxy that knows no app server, with an endpoint where they may say so."""

    def __init__(self, start, *options, host="127.0.0.1", port=None):
        self.remote = f"tcp://{host}:{port or free_port()}"
        words = ["--control", f"app:{self.remote}", *options]
        super().__init__(start, *words, backends=())

    def names(self):
        rows = self.done("--json", "show", "backends").json["backends"]
        return sorted(r["backend"] for r in rows)

    def until_names(self, *names):
        names = sorted(f"default/{n}" for n in names)
        until(lambda: self.names() == names, f"{names} are there")


class App:
    """A banyan-app with a master, workers and a registering process."""

    def __init__(self, start, proxies, *options, name, processes=1, lease=LEASE_S, before=()):
        self.name = name
        argv = [*before, program("banyan-app"), "--python", PYTHON, "--chdir", HERE]
        argv += ["--bind", f"ipc://{start.folder}/{name}-{{n}}.{free_port()}"]
        argv += ["--processes", processes, "--name", name, "--lease", lease]
        for proxy in proxies:
            argv += ["--register", getattr(proxy, "remote", proxy)]
        self.process = start(*argv, *options, "apps.dispatch")
        self.pid, self.log = self.process.pid, self.process.log

    def below(self, name):
        return [p for p, n in children(self.pid).items() if n == name]

    def worker(self):
        return until(lambda: self.below("banyan-app-0"), "a worker")[0]

    def registrar(self):
        return until(lambda: self.below("banyan-register"), "the registering process")[0]

    def vanish(self):
        """All of its host dies at once: nobody says a word."""
        os.killpg(self.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def proxy(start):
    return Proxy(start)


def one_app(start, proxies, *options, name="web", **more):
    app = App(start, proxies, *options, name=name, **more)
    for p in proxies:
        p.until_up(name)
    return app


def test_an_app_server_registers_serves_and_leaves(start, proxy):
    app = one_app(start, [proxy])
    row = proxy.backend("web")
    assert row["source"] == "self" and row["changed_by"] == "tcp 127.0.0.1"
    assert proxy.ask("/hello").status == 200
    assert app.process.stop() == 0
    assert proxy.names() == []
    events = [e.split() for e in proxy.done("show", "events").out.splitlines()]
    told = [e[-1] for e in events if e[2:4] == ["tcp", "127.0.0.1"]]
    assert told == ["register", "deregister"]


def test_every_worker_has_its_name(start, proxy):
    app = App(start, [proxy], name="web", processes=3)
    for n in range(3):
        proxy.until_up(f"web-{n}")
    endpoints = {proxy.backend(f"web-{n}")["endpoint"] for n in range(3)}
    assert len(endpoints) == 3
    assert app.process.stop() == 0
    assert proxy.names() == []


def test_a_renewal_is_no_change(start):
    proxy = Proxy(start, "--state-file", start.folder / "state")
    app = one_app(start, [proxy], lease=1)
    generation = proxy.generation()
    written = os.stat(start.folder / "state").st_mtime_ns
    told = proxy.proxy.log().count("admin: ")
    # Three leases: without renewals it would be gone.
    waited = proxy.say("--timeout", "3", "wait", "removed", "web")
    assert waited.code == 2
    assert proxy.generation() == generation
    assert os.stat(start.folder / "state").st_mtime_ns == written
    assert proxy.proxy.log().count("admin: ") == told
    assert app.process.stop() == 0


def test_a_host_that_vanishes_is_forgotten_with_its_lease(start, proxy):
    keeps, goes = one_app(start, [proxy], name="keeps"), one_app(start, [proxy], name="goes")
    assert goes.registrar() and keeps.registrar()
    goes.vanish()
    proxy.until_names("keeps")
    proxy.proxy.wait_log(f"default/goes did not renew its lease of {LEASE_S} s")
    assert proxy.ask("/hello").status == 200


def test_a_worker_that_crashes_comes_back_under_its_name(start, proxy):
    app = one_app(start, [proxy])
    pid = app.worker()
    os.kill(pid, signal.SIGKILL)
    until(lambda: proxy.backend("web")["pid"] not in (None, pid), "another process")
    proxy.until_up("web")
    assert proxy.ask("/hello").status == 200
    assert proxy.say("--timeout", LEASE_S + 1, "wait", "removed", "web").code == 2


def test_the_registering_process_is_replaced(start, proxy):
    app = one_app(start, [proxy])
    pid = app.registrar()
    os.kill(pid, signal.SIGKILL)
    until(lambda: app.below("banyan-register") not in ([], [pid]), "another one")
    assert proxy.say("--timeout", LEASE_S + 1, "wait", "removed", "web").code == 2
    assert app.process.stop() == 0
    assert proxy.names() == []


def test_a_proxy_that_restarts_is_told_again(start, proxy):
    apps = [one_app(start, [proxy], name=f"web{i}", lease=60) for i in range(3)]
    for how in (signal.SIGTERM, signal.SIGKILL):
        proxy.proxy.signal(how)
        proxy.proxy.wait()
        proxy.run()
        for app in apps:
            proxy.until_up(app.name)
        assert proxy.ask("/hello").status == 200


def test_an_upgrade_keeps_who_registered(start, proxy):
    """In the replaced process, which nobody renews a lease with, and in the new one."""
    app = one_app(start, [proxy], lease=1)
    with Connection(proxy.address) as old:
        assert old.ask("GET", "/hello").status == 200
        proxy.done("upgrade")
        proxy.until_up("web")
        assert proxy.say("--timeout", "3", "wait", "removed", "web").code == 2
        assert old.ask("GET", "/hello").status == 200
    assert proxy.ask("/hello").status == 200
    assert app.process.stop() == 0
    assert proxy.names() == []


def test_what_a_person_decided_outranks(start, proxy):
    app = one_app(start, [proxy], lease=1)
    proxy.done("maint", "web")
    proxy.done("weight", "web", "7")
    assert proxy.say("--timeout", "1.5", "wait", "ready", "1").code == 2  # renewed meanwhile
    row = proxy.backend("web")
    assert (row["state"], row["weight"]) == ("maint", 7)
    assert app.process.stop() == 0
    assert proxy.names() == []
    one_app(start, [proxy], lease=1)
    assert proxy.backend("web")["state"] == "maint"  # though it is another one
    proxy.done("ready", "web")
    assert proxy.ask("/hello").status == 200
    proxy.done("remove", "web")
    proxy.proxy.wait_log("an operator removed default/web")
    assert proxy.names() == []


def test_what_is_configured_is_not_taken_over(start):
    proxy = Proxy(start)
    endpoint = proxy.app("a")
    proxy.done("add", "a", endpoint)
    App(start, [proxy], name="a")
    proxy.proxy.wait_log(f"default/a is at {endpoint} (cli): use another name")
    assert proxy.backend("a")["source"] == "cli"


def test_lines_that_are_wrong_are_refused(start, proxy):
    peer = Peer(proxy.remote)
    for line, says in [
        ("register", "usage: register"),
        ("register default/x ipc:///x weight=1", "usage: register"),
        ("register default/x ipc:///x lease=0.5", "expected 1 to 3600 seconds"),
        ("register default/x ipc:///x lease=3601", "expected 1 to 3600 seconds"),
        ("register default/x http://x lease=5", "expected ipc:///path"),
        ("register default/x tcp://192.0.2.1:1 lease=5", "not on loopback"),
        ("register other/x ipc:///x lease=5", "other"),
        ("register default/a/b ipc:///x lease=5", "is no name"),
        ("register default/x ipc:///x lease=5 weight=257", "weight=257 is not accepted"),
        ("register default/x ipc:///x lease=5 color=red", "takes no color="),
        ("deregister", "usage: deregister"),
        ("show backends", "is for the role viewer; yours is app"),
    ]:
        answer = peer.ask(line)
        assert answer.endswith("=1\n") and says in answer, (line, answer)
    assert proxy.names() == []
    assert peer.ask("deregister default/nobody").endswith("=0\n")
    line = "register default/x ipc:///nowhere lease=1 weight=9 limit=4"
    assert peer.ask(line).endswith("=0\n")
    row = proxy.backend("x")
    assert (row["weight"], row["limit"], row["source"]) == (9, 4, "self")
    proxy.until_names()  # nobody renews it
    peer.close()


def test_another_place_is_another_place(start, proxy):
    """A container that was recreated: the same name, another address."""
    peer = Peer(proxy.remote)
    first, second = proxy.app("first"), proxy.app("second")
    assert peer.ask(f"register default/web {first} lease=60").endswith("=0\n")
    proxy.until_up("web")
    assert peer.ask(f"register default/web {second} lease=60").endswith("=0\n")
    until(lambda: proxy.backend("web")["pid"] == proxy.backends["second"].pid, "it has moved")
    proxy.until_up("web")
    assert proxy.ask("/hello").status == 200
    peer.close()


def test_two_hosts_of_one_name_do_not_take_it_from_each_other(start, proxy):
    first, second = proxy.app("first"), proxy.app("second")
    one, two = Peer(proxy.remote), Peer(proxy.remote)
    assert one.ask(f"register default/web {first} lease=60").endswith("=0\n")
    refused = two.ask(f"register default/web {second} lease=60")
    assert "give each its own --name" in refused and refused.endswith("=1\n")
    assert proxy.backend("web")["endpoint"] == first
    one.close()  # its host has died, and another one is made in its place
    until(
        lambda: two.ask(f"register default/web {second} lease=60").endswith("=0\n"),
        "the name is free",
    )
    assert proxy.backend("web")["endpoint"] == second
    two.close()


def test_scaling_under_load_with_two_proxies(start):
    proxies = [Proxy(start), Proxy(start)]
    apps = [one_app(start, proxies, name="a0")]
    loads = [Load(p.address, clients=4) for p in proxies]
    for load in loads:
        load.start()
    try:
        for n in range(1, 5):
            apps.append(one_app(start, proxies, name=f"a{n}"))
        for p in proxies:
            for app in apps:
                until(lambda: p.backend(app.name)["requests"] > 0, f"{app.name} serves")
        for app in apps[:3]:
            assert app.process.stop() == 0
        for p in proxies:
            p.until_names("a3", "a4")
        for load in loads:
            served = load.served
            until(lambda: load.served > served + 50, "the rest serves")
    finally:
        for load in loads:
            load.stop()
    assert [load.failures for load in loads] == [[], []]


def test_a_running_request_ends_before_its_app_server(start, proxy):
    app = one_app(start, [proxy])
    other = one_app(start, [proxy], name="other")
    proxy.done("drain", "other")
    with Connection(proxy.address) as c:
        c.request("GET", "/whoami?0&1.5")
        until(lambda: proxy.backend("web")["in_flight"] == 1, "it runs")
        app.process.signal(signal.SIGTERM)
        proxy.until_names("other")
        proxy.done("ready", "other")
        assert proxy.ask("/hello").status == 200
        assert app.process.is_running()
        answer = c.response()
    assert answer.status == 200
    assert app.process.wait() == 0
    assert other.process.stop() == 0


def test_a_new_generation_registers_before_the_old_one_leaves(start, proxy):
    argv = [program("banyan-app"), "--python", PYTHON, "--chdir", HERE]
    argv += ["--bind", f"ipc://{start.folder}/gen-{{n}}.{{g}}", "--name", "web"]
    app = start(*argv, "--register", proxy.remote, "--lease", 5, "apps.dispatch")
    proxy.until_up("web.1")
    load = Load(proxy.address, clients=4)
    load.start()
    try:
        for generation in (2, 3):
            app.signal(signal.SIGHUP)
            proxy.until_names(f"web.{generation}")
            served = load.served
            until(lambda: load.served > served + 50, "it serves")
    finally:
        load.stop()
    assert load.failures == []
    assert app.stop() == 0


def test_workers_are_replaced_under_load(start, proxy):
    app = App(start, [proxy], name="web", processes=2)
    for n in range(2):
        proxy.until_up(f"web-{n}")
    load = Load(proxy.address, clients=4)
    load.start()
    try:
        app.process.signal(signal.SIGHUP)
        app.process.wait_log("all workers are replaced")
        served = load.served
        until(lambda: load.served > served + 50, "they serve")
    finally:
        load.stop()
    assert load.failures == []
    assert proxy.names() == ["default/web-0", "default/web-1"]


def test_workers_are_recycled_under_load(start, proxy):
    app = App(start, [proxy], "--max-requests", 300, name="web", processes=2)
    for n in range(2):
        proxy.until_up(f"web-{n}")
    load = Load(proxy.address, clients=4)
    load.start()
    try:
        until(lambda: app.log().count("is ready on") > 6, "two rounds")
    finally:
        load.stop()
    assert load.failures == []
    assert proxy.names() == ["default/web-0", "default/web-1"]
    assert "asks to be replaced" in app.log()
    assert app.process.stop() == 0


def can_unshare():
    done = subprocess.run(["unshare", "-m", "true"], capture_output=True)
    return os.geteuid() == 0 and done.returncode == 0


def test_a_name_means_every_proxy_behind_it(start):
    """As a service of compose: its addresses come and go."""
    if not can_unshare():
        pytest.skip("mount namespaces need root")
    hosts = pathlib.Path(start.folder, "hosts")
    one = Proxy(start, host="127.0.0.2")
    port = one.remote.rpartition(":")[2]
    two = Proxy(start, host="127.0.0.3", port=port)
    hosts.write_text("127.0.0.2 proxies.test\n")
    shell = f"mount --bind {hosts} /etc/hosts && exec \"$@\""
    before = ["unshare", "-m", "sh", "-c", shell, "sh"]
    remote = f"tcp://proxies.test:{port}"
    App(start, [remote], "--insecure", name="web", before=before, lease=LEASE_S)
    one.until_up("web")
    assert two.names() == []
    hosts.write_text("127.0.0.2 proxies.test\n127.0.0.3 proxies.test\n")
    two.until_up("web")
    names = ["banyan", "--proxy", remote, "ping"]
    refused = subprocess.run(
        [*before, program("banyan"), *names[1:]], capture_output=True, text=True, timeout=20
    )
    # Both were asked; the role app may not ping.
    assert refused.returncode == 1
    assert refused.stderr.count("is for the role viewer; yours is app") == 2
    two.proxy.stop()
    hosts.write_text("127.0.0.2 proxies.test\n")
    assert one.say("--timeout", LEASE_S + 1, "wait", "removed", "web").code == 2


def test_without_a_proxy_it_serves_and_stops_all_the_same(start):
    nobody = f"tcp://127.0.0.1:{free_port()}"
    app = App(start, [nobody], name="web")
    app.process.wait_log(f"no proxy at {nobody}: nobody listens there; trying on")
    app.process.wait_log("is ready on")
    assert app.process.stop() == 0
