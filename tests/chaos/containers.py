# SPDX-License-Identifier: MIT
"""Experiments with containers, as deploy/docker/compose.yaml runs them."""

import json
import os
import random
import re
import shutil
import signal
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

from chaos import table
from chaos.engine import BASE, DOCKER, ROOT, Deployment, build_images, call, docker, inspect
from chaos.hosts import judge_rows, wait
from chaos.ledger import Load
from chaos.net import until

MIB = 1 << 20
START_S = 3
HARDENED = ["--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
TMPFS = ["--tmpfs", "/run/banyan:mode=0700,uid=10001,gid=10001", "--tmpfs", "/tmp"]


def images(programs, short):
    """What the images promise: size, user, read-only root, health, logs, drain."""
    results = table.Results("images")
    build_images()
    size = {name: int(inspect(name, "{{.Size}}")) for name in (BASE, "banyan-proxy", "banyan-app")}
    over = (size["banyan-proxy"] - size[BASE]) / MIB
    table.add_most(results, "proxy over its base, MiB", 40.0, over)
    look = "find / -xdev -path '*bin/python*' -o -xdev -name 'libpython*'"
    found = docker("run", "--rm", "--entrypoint", "sh", "banyan-proxy", "-c", look, check=False)
    table.add(results, "Python in the proxy's image", "", found)
    proxy = docker("run", "-d", *HARDENED, *TMPFS, "banyan-proxy")
    try:
        health = until(lambda: health_of(proxy) in ("healthy", "unhealthy") and health_of(proxy),
                       "a verdict", 40)
        table.add(results, "health of a proxy, read-only", "healthy", health)
        table.add(results, "its user", "10001", docker("exec", proxy, "id", "-u"))
        begin = time.monotonic()
        docker("stop", "-t", "20", proxy)
        table.add_most(results, "SIGTERM to its end, s", 5.0, time.monotonic() - begin)
        table.add(results, "its exit code", "0", inspect(proxy, "{{.State.ExitCode}}"))
        lines = docker("logs", proxy).splitlines()
        table.add_least(results, "lines of JSON", 3, sum(is_json(line) for line in lines))
        table.add(results, "other lines", 0, sum(not is_json(line) for line in lines))
    finally:
        docker("rm", "-f", "-v", proxy)
    return results


def health_of(container):
    return inspect(container, "{{.State.Health.Status}}")


def is_json(line):
    try:
        return json.loads(line)["type"] in ("log", "access")
    except (ValueError, KeyError, TypeError):
        return False


def started_at(container):
    """The moment as Docker wrote it down, to the microsecond."""
    text = inspect(container, "{{.State.StartedAt}}")
    whole, _, fraction = text.rstrip("Z").partition(".")
    moment = datetime.fromisoformat(f"{whole}+00:00").timestamp()
    return moment + float(f"0.{fraction or 0}")


def start(programs, short):
    """From the containers' start to the first answer; who asks meanwhile waits."""
    results = table.Results("start")
    with Deployment() as deployment:
        (proxy,), (app,) = deployment.ids("proxy"), deployment.ids("app")
        with Load("", connections=16, every=0.04) as load:
            wait(1)  # the generator's own start is not what is measured
            docker("start", proxy)
            load.retarget(f"{deployment.address(proxy)}:8000")
            docker("start", app)
            until(lambda: deployment.backends(proxy), "an app server", 30)
            wait(1)
            ledger = load.stop()
        begin = max(started_at(proxy), started_at(app))
    answered = [r for r in ledger.requests if not r.failed]
    accepted = min((r.begin for r in ledger.requests if r.status != 0), default=None)
    first = min((r.end for r in answered), default=None)
    table.add_most(results, "first answer, s", START_S, first and first - begin)
    # Before the proxy listens there is nobody who could let them wait.
    late = [r for r in ledger.failures if accepted is None or r.begin >= accepted]
    table.add(results, "failures since it listens", 0, len(late), ledger.blame())
    waited = sum(r.end - r.begin > 0.1 for r in answered)
    table.add_least(results, "waited for the app server", 1, waited, f"of {len(answered)}")
    return results


def scale(programs, short):
    """1 -> 5 -> 2 app servers, then 1 -> 2 -> 1 proxies."""
    results = table.Results("scale")
    with Deployment() as deployment:
        deployment.up()
        deployment.wait_ready(1)
        with deployment.load(posts=0.2) as load:
            wait(1)
            for count in (5, 2):
                deployment.up(app=count)
                deployment.wait_ready(count)
                wait(1)
            ledger = load.stop()
        table.add(results, "failures, 1 -> 5 -> 2 apps", 0, len(ledger.failures), ledger.blame())
        who = {r.who.split("/")[0] for r in ledger.requests if not r.failed}
        table.add(results, "app servers that served", 5, len(who), f"{len(ledger)} requests")
        with deployment.load(posts=0.2) as load:
            wait(1)
            deployment.up(proxy=2)
            deployment.wait_ready(2)
            load.retarget(deployment.targets())
            wait(2)
            counts = [requests_of(deployment, p) for p in deployment.ids("proxy")]
            deployment.up(proxy=1)
            load.retarget(deployment.targets())
            wait(1)
            more = load.stop()
        table.add(results, "failures, 1 -> 2 -> 1 proxies", 0, len(more.failures), more.blame())
        table.add_least(results, "requests through each proxy", 1, min(counts), str(counts))
        more.requests += ledger.requests
        judge_rows(deployment.rows(), more, results)
    return results


def requests_of(deployment, proxy):
    rows = json.loads(deployment.banyan(proxy, "show", "backends"))["backends"]
    return sum(row["requests"] for row in rows)


def roll(programs, short):
    """A new version of the application, then of the proxy, each by one command."""
    results = table.Results("rolling update")
    with Deployment(app=2) as deployment:
        deployment.up()
        deployment.wait_ready(2)
        with deployment.load(posts=0.2) as load:
            wait(1)
            env = {**deployment.env, "VERSION": "2"}
            call(DOCKER / "roll", "app", env=env, timeout=300)
            deployment.env["VERSION"] = "2"
            deployment.wait_ready(2)
            rolled_at = time.time()
            wait(1)
            ledger = load.stop()
            rows = deployment.rows()
        said = ledger.blame() or f"of {len(ledger)}"
        table.add(results, "failures, app servers", 0, len(ledger.failures), said)
        old = [r for r in ledger.requests if r.begin > rolled_at and r.version != "2"]
        table.add(results, "answers of the old version after", 0, len(old))
        versions = sorted({r.version for r in ledger.requests if not r.failed})
        table.add(results, "versions that served", "1 2", " ".join(versions))
        judge_rows(rows, ledger, results)
        roll_proxies(deployment, results)
        restart_proxy(deployment, results)
    return results


def roll_proxies(deployment, results):
    """Clients follow, as those of a load balancer in front would: to the proxies that run."""
    deployment.up(proxy=2)
    deployment.wait_ready(2)
    old = deployment.ids("proxy")
    with deployment.load(posts=0.2) as load, ThreadPoolExecutor() as pool:
        wait(1)
        rolling = pool.submit(call, DOCKER / "roll", "proxy", env=deployment.env, timeout=300)
        while not rolling.done():
            wait(0.2)
            load.retarget(deployment.targets())
        rolling.result()
        deployment.wait_ready(2)
        wait(1)
        ledger = load.stop()
    left = set(deployment.ids("proxy")) & set(old)
    table.add(results, "old proxies after", 0, len(left))
    said = ledger.blame() or f"of {len(ledger)}"
    table.add(results, "failures, proxies", 0, len(ledger.failures), said)


def restart_proxy(deployment, results):
    """App servers come back to a proxy that was restarted."""
    deployment.up(proxy=1)
    (proxy,) = deployment.ids("proxy")
    docker("restart", "-t", "20", proxy)
    begin = time.monotonic()
    deployment.wait_ready(2)
    table.add_most(results, "re-registered with a new proxy, s", 10.0, time.monotonic() - begin)


def posts(programs, short):
    """POSTs into PostgreSQL while app containers are killed at random."""
    results = table.Results("POSTs and kills")
    wanted = 5000 if short else int(os.environ.get("CHAOS_POSTS", 100000))
    kills = 0
    with Deployment(app=3) as deployment:
        deployment.up()
        deployment.wait_ready(3)
        apps = deployment.ids("app")
        with deployment.load(posts=1.0, connections=32, every=0.0) as load:
            while load.count() < wanted:
                # Not `docker kill`: after that the engine would leave it dead.
                pid = int(inspect(random.choice(apps), "{{.State.Pid}}"))
                if pid:
                    os.kill(pid, signal.SIGKILL)
                    kills += 1
                wait(1.5)
            ledger = load.stop()
        rows = deployment.rows()
    table.add_least(results, "POSTs", wanted, len(ledger))
    table.add_least(results, "containers killed", 2, kills)
    judge_rows(rows, ledger, results)
    lost = [r for r in ledger.requests if r.key not in rows]
    silent = [r for r in lost if r.status < 500]
    table.add(results, "lost without an error", 0, len(silent), ledger.blame())
    return results


def documented(programs, short):
    """What deploy/docker/README.md says of compose.yaml, as it stands there."""
    results = table.Results("its README")
    build_images()
    text = (DOCKER / "README.md").read_text().partition("## Several containers")[2]
    (script, *_) = re.findall(r"^```sh\n(.*?)^```$", text, re.M | re.S)
    env = {"COMPOSE_PROJECT_NAME": f"banyan-chaos-{os.getpid()}-readme"}
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns("build", ".git", "secrets.d"))
        try:
            said = call("bash", "-euxc", f"cd {tree}; {script}", env=env, timeout=600)
            answers = re.findall(r"^[0-9a-f]{12}, version 1$", said, re.M)
            table.add(results, "answers to its curl", 1, len(answers))
            shown = re.findall(r"^default/.* up ", said, re.M)
            table.add_least(results, "app servers that it shows", 1, len(shown))
        finally:
            files = ["-f", tree / "deploy/docker/compose.yaml"]
            call("docker-compose", *files, "down", "-v", "-t", "5", env=env)
    return results


EXPERIMENTS = [images, start, scale, roll, posts, documented]
