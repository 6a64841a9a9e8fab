# SPDX-License-Identifier: MIT
"""The table of verbs, walked: each has help, each change said twice is done once, each answer
in JSON is as proxy/README.md documents it. A verb that is new has to be entered here."""

import json
import re
import shlex

import pytest
from conftest import ROOT, Connection, until
from test_admin import Plane


def all_verbs(plane):
    return {v["verb"]: v for v in plane.done("--json", "help").json["verbs"]}


@pytest.fixture(scope="module")
def plane(start_for_module):
    config = start_for_module.folder / "proxy.yaml"
    config.write_text("max-queue: 500\n")
    options = ["--config", config, "--state-file", start_for_module.folder / "state"]
    app = start_for_module.folder / "app.sock"
    plane = Plane(start_for_module, *options, "--control", f"app:{app}")
    plane.app_socket = app
    return plane


def test_each_verb_is_explained(plane):
    for words, verb in all_verbs(plane).items():
        assert len(verb["help"]) > 5 and verb["effect"] in ("reads", "changes"), verb
        shown = plane.done("help", *words.split()).out
        assert words in shown and verb["help"] in shown
        assert verb["role"] in ("app", "viewer", "operator", "admin")
        # What is missing is said with what would be accepted.
        if verb["arguments"] and not verb["arguments"].startswith("["):
            answer = plane.say(*words.split())
            assert answer.code == 1 and verb["arguments"] in answer.err, verb


# What is said twice, after what is said first. {e}: the endpoint of a third app server.
TWICE = {
    "add": ("add c {e} weight=50", ["remove c"], ["remove c"]),
    "remove": ("remove c", ["add c {e}"], []),
    "drain": ("drain a wait", [], ["ready a"]),
    "maint": ("maint a", [], ["ready a"]),
    "disable": ("disable a", [], ["ready a"]),
    "ready": ("ready a", ["drain a"], []),
    "enable": ("enable a", ["drain a"], []),
    "kill": ("kill a", [], []),
    "kill-request": ("kill-request nothing", [], []),
    "kill-client": ("kill-client 0-77777", [], []),
    "weight": ("weight a 50%", [], ["weight a 100"]),
    "limit": ("limit a 4", [], ["limit a 0"]),
    "maxconn": ("maxconn a 4", [], ["limit a 0"]),
    "health": ("health a up", [], ["health a auto"]),
    "pause": ("pause", [], ["resume"]),
    "resume": ("resume", ["pause"], []),
    "stop": ('stop "message=back soon"', [], ["resume"]),
    "set": ("set max-queue=700 queue-timeout=5", [], ["set max-queue= queue-timeout="]),
    "save": ("save", ["--ephemeral drain b"], ["ready b"]),
    "reload": ("reload", [], []),
    "register": ("register default/c {e} lease=60", [], ["deregister default/c"]),
    "deregister": ("deregister default/c", ["register default/c {e} lease=60"], []),
}


# Each of them does it again, as its own tests say.
NOT_IDEMPOTENT = {"upgrade"}


def decided(plane):
    """What is in force, without who, when and how often."""
    text = plane.done("show", "state").out
    text = re.sub(r"\b(generation|at|by|change|until)=(\"[^\"]*\"|\S+)", "", text)
    return sorted(" ".join(line.split()) for line in text.splitlines())


def test_every_change_is_here(plane):
    changes = {w for w, v in all_verbs(plane).items() if v["effect"] == "changes"}
    assert changes == set(TWICE) | NOT_IDEMPOTENT


@pytest.mark.parametrize("verb", TWICE)
def test_a_change_said_twice_is_one(plane, verb):
    line, before, after = TWICE[verb]
    if "c" not in plane.backends:
        plane.app("c")
    endpoint = f"ipc://{plane.start.folder}/c.sock"
    plane.say("remove", "c")

    def say(text):
        words = shlex.split(text.format(e=endpoint))
        is_apps = words[0] in ("register", "deregister")
        return plane.say(*words, control=plane.app_socket if is_apps else None)

    for text in before:
        assert say(text).code == 0, text
    once = say(line)
    assert once.code == 0, once
    between, generation = decided(plane), plane.generation()
    twice = say(line)
    assert (twice.code, twice.err) == (once.code, once.err), twice
    assert decided(plane) == between
    if "unchanged" in twice.out:
        assert plane.generation() == generation
    for text in after:
        assert say(text).code == 0, text


def documented():
    """{member: keys} of the README's table; None for those whose keys are tables of the code."""
    text = (ROOT / "proxy" / "README.md").read_text()
    rows = text.split("| member | is | with |\n|---|---|---|\n")[1].split("\n\n")[0]
    table = {}
    for row in rows.splitlines():
        names, kind, keys = (cell.strip() for cell in row.strip("|").split("|"))
        for name in re.findall(r"`(\w+)`", names):
            is_whole = ".def" not in keys
            table[name] = (kind.split(",")[0], set(re.findall(r"`(\w+)`", keys)), is_whole)
    return table


def names_of(path, macro=r"STAT(?:_NOW)?"):
    return re.findall(rf"^{macro}\((\w+),", (ROOT / path).read_text(), re.M)


def test_each_answer_is_as_documented(start):
    """With a row for every table: requests that run and wait, one that was refused."""
    state = start.folder / "state"
    words = ["--state-file", state, "--backend", "n=tcp://nowhere.invalid:7001", "--insecure"]
    plane = Plane(start, *words, backends=("a",), threads=1)
    plane.done("--ephemeral", "weight", "a", "99")
    seen = {}

    def look(*words):
        answer = plane.done("--json", *words).json
        assert answer.pop("code") == 0 and answer.pop("generation") > 0
        answer.pop("text", None)
        for member, value in answer.items():
            kind, keys, is_whole = documented()[member]
            if kind == "array":
                assert isinstance(value, list), (words, member)
                for row in value:
                    assert set(row) == keys, (words, member)
            elif is_whole:
                assert set(value) == keys, (words, member)
            seen.setdefault(member, value)
            seen[member] = seen[member] or value
        return answer

    with Connection(plane.address) as c:
        c.send(b"GET / HTTP/1.1\r\nBad Name: x\r\n\r\n")
        assert c.response().status == 400
    with Connection(plane.address) as c:
        plane.done("pause", "max-pause=60s")
        c.request("GET", "/hello")
        until(lambda: look("show", "queue")["requests"], "a request that waits")
        assert look("show", "queue")["queue"][0]["queued"] == 1
        verbs = all_verbs(plane)
        for words, verb in verbs.items():
            if verb["effect"] == "reads" and (verb["arguments"] or "[").startswith("["):
                if words not in ("shutdown", "show events", "stats reset", "check"):
                    look(*words.split())
        plane.done("resume")
        assert c.response().status == 200
    assert set(seen) == set(documented())
    assert all(seen[m] for m in seen), seen
    assert set(seen["stats"]) == set(names_of("proxy/stats.def"))
    assert set(seen["upstream"]) == set(names_of("proxy/upstream/pool_stats.def"))
    assert set(seen["failures"]) <= set(names_of("protocol/base/error.def", "ERR"))
    *events, end = map(json.loads, plane.done("--json", "show", "events").out.splitlines())
    assert events and set(end) == {"code", "generation"}
    for event in events:
        assert set(event) == {"number", "at", "generation", "by", "object", "event"}
