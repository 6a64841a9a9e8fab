# SPDX-License-Identifier: MIT
"""What the way between proxy and app servers costs: CPU of all their threads for each request."""

import os
import re
import subprocess
from pathlib import Path

from chaos import table
from chaos.hosts import PYTHON
from chaos.net import Network, run, until

HELLO = Path(__file__).resolve().parents[2] / "deploy/examples/hello"
CONNECTIONS, APPS = 64, 2
TICKS = os.sysconf("SC_CLK_TCK")


def cpu_s(process):
    """Of it and of everything below it."""
    total = 0
    for pid in process.tree():
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(words[11]) + int(words[12])
    return total / TICKS


class Site:
    """One proxy, APPS processes, both in one namespace: what a network adds is not theirs."""

    def __init__(self, network, programs, name, bind, secure):
        host = network.host(name)
        self.host, options = host, []
        folder = network.folder / name
        folder.mkdir()
        bind = bind.format(folder=folder)
        if secure:
            keys(programs, folder)
            options = ["--authorized-keys", folder / "authorized-keys", "--key"]
        more = [*options, folder / "app.key"] if secure else []
        words = ["--bind", bind, "--processes", APPS, "--python", PYTHON, "--chdir", HELLO]
        self.app = host.start(programs / "banyan-app", *words, *more, "hello:app")
        backends = [bind.replace("{n}", str(n)) for n in range(APPS)]
        words = [word for b in backends for word in ("--backend", b)]
        more = [*options, folder / "proxy.key"] if secure else []
        self.proxy = host.start(programs / "banyan-proxy", "--bind", ":8000", *words, *more)
        until(lambda: self.proxy.log().count(" is up ") >= APPS, f"{APPS} app servers")
        self.measure(1)

    def measure(self, seconds):
        """Microseconds of CPU for each request."""
        before = cpu_s(self.proxy) + cpu_s(self.app)
        wrk = ["wrk", "-t", "1", "-c", str(CONNECTIONS), "-d", f"{seconds}s", "http://127.0.0.1:8000/"]
        text = subprocess.check_output([*self.host.prefix, *wrk], text=True)
        spent = cpu_s(self.proxy) + cpu_s(self.app) - before
        if "Non-2xx" in text:
            raise RuntimeError(text)
        return spent * 1e6 / int(re.search(r"(\d+) requests in", text).group(1))


def keys(programs, folder):
    for name in ("proxy", "app"):
        public = run(programs / "banyan", "keygen", folder / f"{name}.key").stdout.strip()
        run(programs / "banyan", "keys", "add", folder / "authorized-keys", name, public, name)


def cost(programs, short):
    """ipc://, tcp:// and tcp:// with CURVE on one host, in turns."""
    results = table.Results("cost")
    binds = {
        "ipc": ("ipc://{folder}/{{n}}.sock", False),
        "tcp": ("tcp://127.0.0.1:700{{n}}", False),
        "curve": ("tcp://127.0.0.1:700{{n}}", True),
    }
    with Network() as network:
        sites = {n: Site(network, programs, n, bind, secure) for n, (bind, secure) in binds.items()}
        turns = [{n: s.measure(1 if short else 5) for n, s in sites.items()} for _ in range(5)]
    # The median turn: other work on the machine comes and goes.
    us = {n: sorted(turn[n] for turn in turns)[2] for n in sites}
    said = ", ".join(f"{n} {value:.1f}" for n, value in us.items())
    table.add_most(results, "CURVE over plain tcp, us a request", 6.0, us["curve"] - us["tcp"], said)
    table.add_most(results, "plain tcp : ipc", 1.2, us["tcp"] / us["ipc"])
    return results


EXPERIMENTS = [cost]
