# SPDX-License-Identifier: MIT
"""The README's "Run it on three machines", as it stands there, on three hosts that are namespaces."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

from chaos import table
from chaos.net import Network, until

ROOT = Path(__file__).resolve().parents[2]
HEADING = "## Run it on three machines"
# Each host has a name, an /etc/banyan and a /run of its own; scp finds those of the others.
ENTER = """
mkdir -p /etc/banyan
hostname "$NAME"
mount --make-rprivate /
mount --bind "$HOSTS/$NAME" /etc/banyan
mount -t tmpfs tmpfs /run
exec "$@"
"""
SCP = """#!/bin/sh
set -eu
for to; do :; done
while [ $# -gt 1 ]; do
    cp -p "$1" "$HOSTS/${to%%:*}/${to#*:/etc/banyan/}"
    shift
done
"""


def blocks():
    """{host: commands}"""
    section = (ROOT / "README.md").read_text().partition(HEADING)[2].partition("\n## ")[0]
    found = {}
    for names, script in re.findall(r"^```sh ([\w ]+)\n(.*?)^```$", section, re.M | re.S):
        for name in names.split():
            found[name] = script
    return found


def three_machines(programs, short):
    """The README's section of that name, followed literally."""
    results = table.Results("three machines")
    made = not Path("/etc/banyan").exists()
    with Network() as network:
        scripts = blocks()
        hosts = {name: network.host(name) for name in scripts}
        lines = "".join(f"{host.address} {name}\n" for name, host in hosts.items())
        tools = network.folder / "tools"
        tools.mkdir()
        (tools / "scp").write_text(SCP)
        (tools / "scp").chmod(0o755)
        env = {"HOSTS": str(network.folder / "hosts"), "PATH": f"{tools}:{programs}:{os.environ['PATH']}"}
        try:
            for name, host in hosts.items():
                names_of(host, f"127.0.0.1 localhost\n{lines}")
                (network.folder / "hosts" / name).mkdir(parents=True, mode=0o700)
            processes = {"edge": begin(hosts["edge"], scripts["edge"], env)}
            until(lambda: (network.folder / "hosts/app2/authorized-keys").exists(), "keys on app2")
            for name in ("app1", "app2"):
                processes[name] = begin(hosts[name], scripts[name], env)
            measure(results, hosts, processes, programs)
        finally:
            for host in hosts.values():
                shutil.rmtree(f"/etc/netns/{host.namespace}", ignore_errors=True)
            if made and Path("/etc/banyan").exists():
                Path("/etc/banyan").rmdir()
    return results


def begin(host, script, env):
    """Runs the commands as on a machine of that name."""
    enter = ["unshare", "-m", "-u", "sh", "-euc", ENTER, "sh"]
    script = f"cd {ROOT}; {script}"
    return host.start(*enter, "bash", "-euc", script, env={**env, "NAME": host.name})


def names_of(host, lines):
    folder = Path("/etc/netns") / host.namespace
    folder.mkdir(parents=True)
    (folder / "hosts").write_text(lines)


def measure(results, hosts, processes, programs):
    edge = processes["edge"]

    def ask(name, path):
        words = [*hosts[name].prefix, "curl", "-s", "-m", "5", f"http://edge:8000{path}"]
        return subprocess.run(words, text=True, capture_output=True).stdout

    def say(*words):
        enter = ["nsenter", "-t", str(edge.popen.pid), "-m", "-n", programs / "banyan"]
        done = subprocess.run([*enter, "--json", *words], text=True, capture_output=True)
        return json.loads(done.stdout or "{}")

    def ready():
        rows = say("show", "backends").get("backends", [])
        return [row["endpoint"] for row in rows if row["health"] == "up"]

    until(lambda: len(ready()) == 4, "four app servers")
    table.add(results, "app servers that registered", 4, len(ready()))
    table.add_least(results, "answers, from app1", 1, len(ask("app1", "/")))
    answers = {ask("edge", "/").partition("!")[0] for _ in range(20)}
    table.add(results, "what curl prints on edge", {"Hello from Banyan"}, answers)
    code = processes["app1"].stop()
    until(lambda: len(ready()) == 2, "two app servers")
    table.add(results, "app1 stopped: exit code", 0, code)
    table.add(results, "app servers that are left", 2, len(ready()))
    table.add_least(results, "answers, from app2", 1, len(ask("app2", "/")))


EXPERIMENTS = [three_machines]
