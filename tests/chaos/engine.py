# SPDX-License-Identifier: MIT
"""Docker Engine and docker-compose, and a deployment of compose.yaml that ends with its experiment."""

import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from chaos.ledger import Load
from chaos.net import until

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "deploy/docker"
COMPOSE = DOCKER / "compose.yaml"
BASE = "debian:trixie-slim"
BUILD_S = 1200
building = threading.Lock()


class NotHere(Exception):
    """Why an experiment is impossible on this machine."""


def missing():
    """Why there can be no containers here; None: there can."""
    for program in ("docker", "docker-compose"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    if subprocess.run(["docker", "version"], capture_output=True).returncode != 0:
        return "Docker Engine does not answer"
    return None


def call(*words, env=None, timeout=120, check=True):
    """Standard output; what went wrong is shown."""
    done = subprocess.run(
        [str(w) for w in words],
        text=True,
        capture_output=True,
        timeout=timeout,
        env={**os.environ, **(env or {})},
        cwd=ROOT,
    )
    if check and done.returncode != 0:
        raise RuntimeError(f"{words}: {done.returncode}\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    return done.stdout.strip()


def docker(*words, **more):
    return call("docker", *words, **more)


def inspect(what, form):
    return docker("inspect", "-f", form, what)


def build_images():
    """Once: the two of the product, those of the example, and its version 2. Who comes while
    another thread builds waits for it."""
    with building:
        build_once()


@functools.cache
def build_once():
    call(DOCKER / "base", timeout=BUILD_S)
    for target in ("proxy", "app"):
        words = ["build", "-q", "-f", DOCKER / "Dockerfile", "--target", target]
        docker(*words, "-t", f"banyan-{target}", ".", timeout=BUILD_S)
    for version in ("1", "2"):
        words = ["build", "-q", "--build-arg", f"VERSION={version}"]
        docker(*words, "-t", f"banyan-ledger:{version}", DOCKER / "example", timeout=BUILD_S)
    words = ["build", "-q", "-t", "banyan-database", DOCKER / "example/database"]
    docker(*words, timeout=BUILD_S)


class Deployment:
    """A context manager: a project of compose.yaml, with secrets of its own."""

    made = 0

    def __init__(self, **scale):
        Deployment.made += 1
        self.project = f"banyan-chaos-{os.getpid()}-{Deployment.made}"
        self.scale = {"app": 1, "proxy": 1, **scale}
        self.folder = Path(tempfile.mkdtemp(prefix="banyan-secrets-"))
        self.env = {
            "COMPOSE_FILE": str(COMPOSE),
            "COMPOSE_PROJECT_NAME": self.project,
            "SECRETS": str(self.folder),
            "VERSION": "1",
        }

    def compose(self, *words, timeout=300):
        return call("docker-compose", *words, env=self.env, timeout=timeout)

    def __enter__(self):
        try:
            build_images()
            call(DOCKER / "secrets", self.folder)
            self.compose("up", "--no-build", "--no-start", *self.scales())
            self.compose("up", "-d", "--no-build", "database")
            until(lambda: self.is_healthy(self.ids("database")[0]), "a database", 60)
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        return self

    def scales(self):
        return [word for name, n in self.scale.items() for word in ("--scale", f"{name}={n}")]

    def up(self, **scale):
        """As `docker-compose up --scale`, of services that may run already."""
        self.scale.update(scale)
        self.compose("up", "-d", "--no-build", "--no-recreate", *self.scales())

    def ids(self, service):
        return self.compose("ps", "-q", service).split()

    def is_healthy(self, container):
        return inspect(container, "{{.State.Health.Status}}") == "healthy"

    def address(self, container):
        return inspect(container, "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}")

    def targets(self):
        """The proxies that are on the network at this moment."""
        form = "{{range .Containers}}{{.Name}} {{.IPv4Address}}\n{{end}}"
        text = docker("network", "inspect", "-f", form, f"{self.project}_default")
        pairs = [line.removeprefix(self.project).split() for line in text.splitlines() if line]
        return ",".join(f"{a.partition('/')[0]}:8000" for name, a in pairs if "proxy" in name)

    def banyan(self, proxy, *words):
        return docker("exec", proxy, "banyan", "--json", *words, check=False)

    def backends(self, proxy):
        """Those that are up there."""
        try:
            rows = json.loads(self.banyan(proxy, "show", "backends"))["backends"]
        except (ValueError, KeyError):
            return []
        return [row for row in rows if row["health"] == "up" and row["state"] == "ready"]

    def wait_ready(self, count, patience_s=60):
        """Each proxy has so many app servers."""
        for proxy in self.ids("proxy"):
            until(lambda: len(self.backends(proxy)) == count, f"{count} app servers", patience_s)

    def load(self, **more):
        return Load(self.targets(), **{"connections": 16, "every": 0.04, **more})

    def sql(self, query):
        words = ["psql", "-h", "/run/database", "-U", "ledger", "-qAtc", query, "ledger"]
        password = (self.folder / "database_password").read_text().strip()
        return docker("exec", "-e", f"PGPASSWORD={password}", *self.ids("database"), *words)

    def rows(self):
        """How often each key is in the ledger."""
        lines = self.sql("SELECT key, count(*) FROM ledger GROUP BY key").splitlines()
        return {key: int(count) for key, count in (line.split("|") for line in lines)}

    def __exit__(self, kind, *_):
        if kind is not None:
            print(self.compose("logs", "--no-color", "--tail", "60")[-12000:], file=sys.stderr)
        self.compose("down", "-v", "-t", "5", "--remove-orphans")
        shutil.rmtree(self.folder, ignore_errors=True)
