# SPDX-License-Identifier: MIT
"""Experiments with hosts that are network namespaces: three app servers, a proxy, a database, a
client. What is counted is what the client saw and what PostgreSQL has."""

import os
import signal
import time
from pathlib import Path

from chaos import table
from chaos.ledger import Load
from chaos.net import Network, until
from chaos.postgres import Postgres

EXAMPLE = Path(__file__).resolve().parents[2] / "deploy/docker/example"
PYTHON = "/usr/bin/python3"
HEARTBEAT_S = 3  # --heartbeat-timeout's default
CONNECTIONS, EVERY_S = 24, 0.05  # 480 requests a second
FULL = 0.85  # of the rate before is full speed
APPS = 3


class Cluster:
    """A context manager: the whole deployment, up."""

    def __init__(self, programs, apps=APPS, threads=16):
        self.network = Network()
        self.programs, self.threads, self.count = programs, threads, apps

    def __enter__(self):
        self.network.__enter__()
        try:
            self.build()
        except BaseException as error:
            self.network.__exit__(type(error), error, None)
            raise
        return self

    def build(self):
        names = [f"app{n + 1}" for n in range(self.count)]
        self.hosts = {name: self.network.host(name) for name in names}
        self.edge = self.network.host("proxy")
        self.client = self.network.host("client")
        self.database = Postgres(self.network.host("database"))
        self.apps = {name: self.start_app(name) for name in names}
        self.start_proxy()
        for name in names:
            self.proxy.wait_log(f" {name} app server ")

    def start_app(self, name):
        host = self.hosts[name]
        words = ["--bind", f"tcp://{host.address}:7001", "--insecure", "--threads", self.threads]
        words += ["--python", PYTHON, "--chdir", EXAMPLE, "ledger:application"]
        env = {"WHO": name, "DATABASE": self.database.url}
        return host.start(self.programs / "banyan-app", *words, env=env)

    def start_proxy(self):
        words = ["--bind", f"{self.edge.address}:8000", "--insecure"]
        words += ["--control", self.network.folder / "control.sock"]
        for name, host in self.hosts.items():
            words += ["--backend", f"{name}=tcp://{host.address}:7001"]
        self.proxy = self.edge.start(self.programs / "banyan-proxy", *words)

    def load(self, **more):
        more = {"connections": CONNECTIONS, "every": EVERY_S, **more}
        return Load(f"{self.edge.address}:8000", prefix=self.client.prefix, **more)

    def __exit__(self, *error):
        self.network.__exit__(*error)


def wait(seconds):
    """For a time that is itself what the experiment is about."""
    time.sleep(seconds)


def judge_rows(rows, ledger, to):
    """The started rule, counted: no key twice, no acknowledged one missing."""
    acknowledged = ledger.acknowledged()
    table.add(to, "rows twice", 0, sum(count > 1 for count in rows.values()))
    table.add(to, "acknowledged rows missing", 0, sum(key not in rows for key in acknowledged))
    unanswered = sum(r.status == 0 for r in ledger.requests)
    table.add(to, "requests without an answer", 0, unanswered, ledger.blame())


def partition(programs, short):
    """One of three app hosts is cut off, both ways, without a reset; then healed."""
    return lose_a_host(
        programs,
        "partition",
        6 if short else 30,
        cut=lambda c: c.hosts["app2"].cut(),
        heal=lambda c: c.hosts["app2"].heal(),
    )


def half_open(programs, short):
    """Packets to it are lost, its own arrive: each side believes something else."""
    return lose_a_host(
        programs,
        "half-open link",
        6 if short else 30,
        cut=lambda c: c.hosts["app2"].cut(away=False),
        heal=lambda c: c.hosts["app2"].heal(),
    )


def stopped(programs, short):
    """SIGSTOP to every process of a host: the kernel still acknowledges what is sent there."""
    return lose_a_host(
        programs,
        "stopped host",
        6 if short else 30,
        cut=lambda c: c.apps["app2"].signal_all(signal.SIGSTOP),
        heal=lambda c: c.apps["app2"].signal_all(signal.SIGCONT),
    )


def lose_a_host(programs, name, seconds, cut, heal):
    results = table.Results(name)
    with Cluster(programs) as cluster, cluster.load(posts=0.3) as load:
        wait(2)
        cut_at = time.time()
        cut(cluster)
        wait(seconds)
        healed_at = time.time()
        heal(cluster)
        wait(5)
        ledger = load.stop()
        rows = cluster.database.rows()
    # A request that was sent there and is not over when the link is cut: at most all of them.
    lost = ledger.failures
    late = [r for r in lost if not cut_at - 1 <= r.begin <= cut_at + 1]
    table.add(results, "failures beyond those in flight there", 0, len(late), ledger.blame())
    table.add_most(results, "failed in flight", CONNECTIONS, len(lost), f"of {len(ledger)}")
    before = ledger.rate(cut_at - 2, cut_at)
    recovered = ledger.recovered_at(cut_at, FULL * before)
    within = None if recovered is None else recovered - cut_at
    table.add_most(results, "full speed after, s", HEARTBEAT_S + 1, within)
    back = ledger.first_from("app2", healed_at)
    table.add_most(results, "takes load after healing, s", 5, back and back - healed_at)
    judge_rows(rows, ledger, results)
    return results


def slow_cable(programs, short):
    """One host of three is 40 ms away and loses 1 % of the packets."""
    results = table.Results("delay and loss")
    with Cluster(programs) as cluster:
        how = cluster.hosts["app2"].slow(40, 1)
        with cluster.load(posts=0.3) as load:
            wait(8 if short else 30)
            ledger = load.stop()
        rows = cluster.database.rows()
    table.add(results, "failures", 0, len(ledger.failures), f"of {len(ledger)}, {how}")
    far = sum(r.who.startswith("app2/") for r in ledger.requests)
    table.add_least(results, "served by the far host", 1, far)
    judge_rows(rows, ledger, results)
    return results


def killed(programs, short):
    """Worker processes are killed at random under POSTs."""
    results = table.Results("kill -9 of workers")
    with Cluster(programs) as cluster, cluster.load(posts=1.0) as load:
        wait(1)
        kills = 0
        for _ in range(8 if short else 40):
            name = f"app{kills % APPS + 1}"
            below = until(lambda: cluster.apps[name].tree()[1:], f"a worker of {name}")
            try:
                os.kill(below[-1], signal.SIGKILL)
                kills += 1
            except ProcessLookupError:
                pass
            wait(0.4)
        ledger = load.stop()
        rows = cluster.database.rows()
    table.add_least(results, "kills", 8, kills, f"{len(ledger)} POSTs")
    judge_rows(rows, ledger, results)
    table.add_most(results, "answered with an error", kills * 16, len(ledger.failures), ledger.blame())
    return results


EXPERIMENTS = [partition, half_open, stopped, slow_cable, killed]
