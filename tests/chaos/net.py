# SPDX-License-Identifier: MIT
"""Hosts that are network namespaces around a router, and cables that can be cut.

Each host has a veth pair of its own to the router, so that the router sees and may drop
every packet: a cut cable answers nothing, least of all with a reset.
"""

import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
numbers = itertools.count()


def run(*words, check=True, **more):
    return subprocess.run([str(w) for w in words], check=check, text=True, capture_output=True, **more)


def until(condition, what, patience_s=30):
    end = time.monotonic() + patience_s
    while not (result := condition()):
        if time.monotonic() > end:
            raise RuntimeError(f"{what} never came true in {patience_s} s")
        time.sleep(0.02)
    return result


class Process:
    """A program with all that it starts; its output goes to a file."""

    def __init__(self, words, log, env=None):
        self.log_path, self.words = log, [str(w) for w in words]
        with open(log, "ab") as out:
            self.popen = subprocess.Popen(
                self.words,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env={**os.environ, **(env or {})},
                start_new_session=True,
            )

    def log(self):
        return self.log_path.read_text(errors="replace")

    def wait_log(self, text, patience_s=30):
        def has():
            if text not in self.log() and self.popen.poll() is not None:
                raise RuntimeError(f"{self.words[:8]} ended:\n{self.log()}")
            return text in self.log()

        until(has, f"{text!r} in the log of {self.words}", patience_s)

    def tree(self):
        """The process and all below it."""
        found, todo = [], [self.popen.pid]
        while todo:
            pid = todo.pop()
            found.append(pid)
            children = Path(f"/proc/{pid}/task/{pid}/children")
            if children.exists():
                todo += [int(p) for p in children.read_text().split()]
        return found

    def signal_all(self, number):
        for pid in self.tree():
            os.kill(pid, number)

    def stop(self, patience_s=45):
        self.popen.send_signal(signal.SIGTERM)
        return self.popen.wait(patience_s)

    def kill(self):
        if self.popen.poll() is None:
            for pid in reversed(self.tree()):
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
        self.popen.wait(30)


class Host:
    """`address` is its own; programs run inside with `prefix` before their words."""

    def __init__(self, network, name):
        self.network, self.name = network, name
        self.namespace = f"{network.name}-{name}"
        number = next(network.hosts_made)
        self.address, gateway = f"10.77.{number}.2", f"10.77.{number}.1"
        self.cable = f"bc{os.getpid() % 10000}x{network.number}x{number}"  # at the router
        self.prefix = ["ip", "netns", "exec", self.namespace]
        run("ip", "netns", "add", self.namespace)
        ends = ["type", "veth", "peer", "name", "eth0", "netns", self.namespace]
        network.ip("link", "add", self.cable, *ends)
        network.ip("addr", "add", f"{gateway}/24", "dev", self.cable)
        network.ip("link", "set", self.cable, "up")
        self.ip("addr", "add", f"{self.address}/24", "dev", "eth0")
        self.ip("link", "set", "eth0", "up")
        self.ip("link", "set", "lo", "up")
        self.ip("route", "add", "default", "via", gateway)

    def ip(self, *words):
        run("ip", "-n", self.namespace, *words)

    def start(self, *words, env=None):
        return self.network.start([*self.prefix, *words], f"{self.name}.log", env)

    def cut(self, to=True, away=True):
        """Nothing passes any more: towards the host, away from it, or both."""
        for on, side in ((to, "-d"), (away, "-s")):
            if on:
                self.network.iptables("-A", "FORWARD", side, self.address, "-j", "DROP")

    def heal(self):
        self.network.iptables("-F", "FORWARD")

    def slow(self, delay_ms, loss_percent):
        """Packets to and from this host take so much longer, and some are lost. Returns how."""
        rule = ["delay", f"{delay_ms}ms", "loss", f"{loss_percent}%"]
        for words in (["-n", self.network.namespace, "qdisc", "add", "dev", self.cable],
                      ["-n", self.namespace, "qdisc", "add", "dev", "eth0"]):
            if run("tc", *words, "root", "netem", *rule, check=False).returncode != 0:
                return self.slow_by_hand(delay_ms, loss_percent)
        return "tc netem"

    def slow_by_hand(self, delay_ms, loss_percent):
        """The kernel has no netem: a pair of tun devices with a process between them."""
        words = [sys.executable, HERE / "wire.py", self.network.namespace, self.namespace]
        words += [self.address, delay_ms, loss_percent]
        wire = self.network.start(words, f"{self.name}-wire.log")
        wire.wait_log("ready")
        return "wire.py, for want of netem"


class Network:
    """A context manager: hosts, and the processes that were started in them."""

    def __init__(self):
        self.number = next(numbers)
        self.name = f"banyan-{os.getpid()}-{self.number}"
        self.namespace = f"{self.name}-router"
        self.hosts_made = itertools.count(1)
        self.hosts, self.processes = [], []
        self.folder = Path(tempfile.mkdtemp(prefix="banyan-net-"))
        self.folder.chmod(0o755)

    def __enter__(self):
        run("ip", "netns", "add", self.namespace)
        self.ip("link", "set", "lo", "up")
        run("ip", "netns", "exec", self.namespace, "sysctl", "-q", "net.ipv4.ip_forward=1")
        return self

    def ip(self, *words):
        run("ip", "-n", self.namespace, *words)

    def iptables(self, *words):
        run("ip", "netns", "exec", self.namespace, "iptables", "-w", *words)

    def host(self, name):
        host = Host(self, name)
        self.hosts.append(host)
        return host

    def start(self, words, log, env=None):
        process = Process(words, self.folder / log, env)
        self.processes.append(process)
        return process

    def logs(self):
        for path in sorted(self.folder.glob("*.log")):
            yield path.name, path.read_text(errors="replace")

    def __exit__(self, kind, *_):
        for process in reversed(self.processes):
            process.kill()
        if kind is not None:
            for name, text in self.logs():
                print(f"--- {name}\n{text[-4000:]}", file=sys.stderr)
        for host in self.hosts:
            run("ip", "netns", "del", host.namespace, check=False)
        run("ip", "netns", "del", self.namespace, check=False)
        shutil.rmtree(self.folder, ignore_errors=True)
