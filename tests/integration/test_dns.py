# SPDX-License-Identifier: MIT
"""Backends whose host is a name: every address is an app server; new ones join, vanished ones
leave, and a name server that fails changes nothing."""

import random

import name_server
import pytest
from conftest import PYTHON, Connection, free_port, program, until
from test_admin import BACKEND, Plane

SOON = ("--resolve-interval", "0.1", "--insecure")


class Cluster(Plane):
    """A proxy that asks a name server of its own, app servers at addresses of 127.0.0.0/8."""

    def __init__(self, start, *options, names=(), **more):
        name_server.require_namespaces()
        self.dns = name_server.NameServer(start.folder)
        self.net = f"127.{random.randrange(60, 250)}.{random.randrange(250)}"
        self.port = free_port()
        self.dns.names["app.test"] = list(names)
        super().__init__(start, *SOON, *options, backends=(), **more)

    def run(self):
        argv = self.dns.wrap(program("banyan-proxy"), *self.argv)
        self.proxy = self.start(*argv)
        self.proxy.wait_log("listening on")

    def app_at(self, number):
        endpoint = f"tcp://{self.net}.{number}:{self.port}"
        process = self.start(PYTHON, BACKEND, endpoint)
        process.wait_log("ready")
        return process

    @property
    def endpoint(self):
        return f"tcp://app.test:{self.port}"

    def set_names(self, *numbers):
        self.dns.names["app.test"] = [f"{self.net}.{n}" for n in numbers]

    def members(self, pool="default"):
        """{last number of the address: row}"""
        rows = self.done("--json", "show", "backends").json["backends"]
        prefix = f"{pool}/app-{self.net}."
        return {
            int(r["backend"].removeprefix(prefix)): r
            for r in rows
            if r["backend"].startswith(prefix)
        }

    def until_members(self, *numbers, health="up"):
        def are_there():
            rows = self.members()
            return set(rows) == set(numbers) and all(r["health"] == health for r in rows.values())

        until(are_there, f"members {numbers}")

    def asked(self):
        """Waits until it was asked again twice: an answer given before has been used."""
        before = self.dns.questions
        until(lambda: self.dns.questions >= before + 4, "further questions")


@pytest.fixture
def cluster(start):
    made = []

    def make(*options, **more):
        made.append(Cluster(start, *options, **more))
        return made[-1]

    yield make
    for c in made:
        c.dns.close()


def test_addresses_join_and_leave(cluster):
    c = cluster("--balance", "round_robin")
    c.app_at(1)
    c.set_names(1)
    c.proxy.stop()
    c.argv += ["--backend", f"app={c.endpoint}"]
    c.run()
    c.until_members(1)
    assert c.members()[1]["source"] == "dns"
    assert c.ask("/hello").status == 200
    c.app_at(2)
    c.app_at(3)
    c.set_names(1, 2, 3)
    c.until_members(1, 2, 3)
    for _ in range(30):
        assert c.ask("/hello").status == 200
    assert all(r["requests"] > 0 for r in c.members().values())
    row = c.done("--json", "show", "dns").json["dns"][0]
    assert row["backend"] == "default/app" and row["addresses"] == 3
    assert row["error"] is None and row["source"] == "option"

    # What runs at an address that vanishes ends as it would have.
    c.done("weight", f"app-{c.net}.2", "0")
    c.done("weight", f"app-{c.net}.3", "0")
    with Connection(c.address) as slow:
        slow.request("GET", "/slow?s=1")
        until(lambda: c.members()[1]["in_flight"] == 1, "it runs at 1")
        c.done("weight", f"app-{c.net}.3", "auto")
        c.set_names(2, 3)
        c.until_members(2, 3)
        assert c.ask("/hello").status == 200
        assert slow.response().status == 200
    events = c.done("show", "events").out
    assert f"default/app-{c.net}.1" in events and "2 addresses" in events


def test_a_lookup_that_fails_changes_nothing(cluster):
    c = cluster()
    c.app_at(1)
    c.set_names(1)
    c.done("add", "app", c.endpoint)
    generation = c.generation()
    for failure in (name_server.SERVER_FAILED, name_server.NO_SUCH_NAME, [], None):
        c.dns.names["app.test"] = failure
        error = lambda: c.done("--json", "show", "dns").json["dns"][0]["error"]
        until(error, "the error is shown")
        assert set(c.members()) == {1} and c.ask("/hello").status == 200
        c.set_names(1)
        until(lambda: not error(), "it is known again")
    assert c.generation() == generation
    assert "its addresses stay" in c.proxy.log()


def test_add_waits_for_every_address_and_leaves_nothing(cluster):
    c = cluster()
    c.dns.names["app.test"] = name_server.NO_SUCH_NAME
    answer = c.say("--timeout", "0.5", "add", "app", c.endpoint)
    assert answer.code == 2 and "no address" in answer.out
    assert c.done("--json", "show", "dns").json["dns"] == []
    c.set_names(1, 2)
    c.app_at(1)
    answer = c.say("--timeout", "1", "add", "app", c.endpoint)
    assert answer.code == 2 and "1 of 2 up" in answer.out
    assert c.members() == {}
    c.app_at(2)
    assert "2 app servers" in c.done("add", "app", c.endpoint, "weight=30").out
    assert [r["weight"] for r in c.members().values()] == [30, 30]
    assert "unchanged" in c.done("add", "app", c.endpoint, "weight=30").out


def test_verbs_about_a_name_are_about_all_its_addresses(cluster):
    c = cluster()
    for n in (1, 2, 3):
        c.app_at(n)
    c.set_names(1, 2)
    c.done("add", "app", c.endpoint)
    c.done("maint", "app")
    assert {r["state"] for r in c.members().values()} == {"maint"}
    c.set_names(1, 2, 3)
    until(lambda: set(c.members()) == {1, 2, 3}, "3 has joined")
    assert {r["state"] for r in c.members().values()} == {"maint"}
    c.done("ready", f"app-{c.net}.2")
    assert {n: r["state"] for n, r in c.members().items()} == {1: "maint", 2: "ready", 3: "maint"}
    c.done("ready", "app")
    c.done("drain", "app", "wait")
    c.done("wait", "drained", "app")
    # One that a person removed stays away while the name has its address.
    c.done("ready", "app")
    c.done("remove", f"app-{c.net}.1")
    c.asked()
    assert set(c.members()) == {2, 3}
    c.done("add", f"app-{c.net}.1", f"tcp://{c.net}.1:{c.port}")
    assert c.members()[1]["source"] == "dns"
    c.done("remove", "app")
    assert c.members() == {} and c.done("--json", "show", "dns").json["dns"] == []


def test_members_outlive_a_name_server_and_the_proxy(cluster, start):
    c = cluster("--state-file", start.folder / "state")
    c.app_at(1)
    c.set_names(1)
    c.done("add", "app", c.endpoint)
    c.done("limit", f"app-{c.net}.1", "3")
    c.dns.names["app.test"] = None
    c.proxy.kill()
    c.run()
    c.until_members(1)
    assert c.members()[1]["limit"] == 3
    assert c.ask("/hello").status == 200
    c.app_at(2)
    c.set_names(1, 2)
    c.until_members(1, 2)


def test_names_in_a_file(cluster, start):
    c = cluster()
    c.app_at(1)
    c.app_at(2)
    c.set_names(1)
    c.proxy.stop()
    path = start.folder / "proxy.yaml"
    text = f"pools: [{{name: default, backends: [{{name: app, endpoint: {c.endpoint}, weight: 40}}]}}]\n"
    path.write_text(text)
    c.argv += ["--config", path]
    c.run()
    # second_backend.py names no pool, so it is not taken for one of this one.
    until(lambda: set(c.members()) == {1}, "1 is there")
    assert c.members()[1]["weight"] == 40
    c.set_names(1, 2)
    until(lambda: set(c.members()) == {1, 2}, "2 has joined")
    path.write_text(text.replace("weight: 40", "weight: 50"))
    c.done("reload")
    assert {r["weight"] for r in c.members().values()} == {50}
    path.write_text("pools: [{name: default, backends: []}]\n")
    c.done("reload")
    assert c.members() == {}
