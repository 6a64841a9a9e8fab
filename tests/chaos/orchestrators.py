# SPDX-License-Identifier: MIT
"""Experiments with who else starts and stops Banyan: a Swarm, and a systemd of its own in a container."""

import contextlib
import subprocess
import tempfile
from pathlib import Path

from chaos import table
from chaos.engine import ROOT, NotHere, build_images, call, docker, inspect
from chaos.hosts import wait
from chaos.ledger import Load
from chaos.net import until

HELLO = ROOT / "deploy/examples/hello"
PATTERN = {"connections": 16, "every": 0.02}


def build(tag, text, context):
    words = ["docker", "build", "-q", "-t", tag, "-f", "-", str(context)]
    subprocess.run(words, input=text, text=True, check=True, capture_output=True, timeout=600)


# ---- Swarm ----

STACK, PORT = "banyan-chaos", 18080
SHOP = 'FROM banyan-app\nCOPY hello.py shop.py\nCMD ["shop:app"]\n'


@contextlib.contextmanager
def stack(folder):
    """deploy/docker/swarm.yaml as it stands there, but for the port."""
    docker("swarm", "init", "--advertise-addr", "127.0.0.1")
    try:
        call(ROOT / "deploy/docker/secrets", folder)
        for name in ("proxy.key", "app.key", "authorized-keys"):
            secret = "banyan_" + name.replace(".", "_").replace("-", "_")
            docker("secret", "create", secret, Path(folder) / name)
        docker("tag", "banyan-proxy", "banyan-proxy:0.1.0")
        text = (ROOT / "deploy/docker/swarm.yaml").read_text()
        file = Path(folder) / "stack.yaml"
        file.write_text(text.replace("published: 80,", f"published: {PORT},"))
        docker("stack", "deploy", "--compose-file", file, STACK)
        yield
        docker("stack", "rm", STACK)
        until(lambda: not docker("ps", "-q", "-f", f"name={STACK}_"), "the stack's end", 90)
    finally:
        docker("swarm", "leave", "--force")


def swarm(programs, short):
    """The Swarm stack: scaled and updated under load."""
    results = table.Results("Swarm")
    if docker("info", "-f", "{{.Swarm.LocalNodeState}}") != "inactive":
        raise NotHere("this Docker Engine is in a swarm already")
    build_images()
    build("shop:1", SHOP, HELLO)
    with tempfile.TemporaryDirectory() as folder, stack(folder):
        until(lambda: len(ready()) == 3, "three app servers", 90)
        table.add(results, "app servers that registered", 3, len(ready()))
        with Load(f"127.0.0.1:{PORT}", **PATTERN) as load:
            wait(1)
            for count in (1,) if short else (5, 2):
                docker("service", "scale", "--detach=false", f"{STACK}_app={count}")
            docker("service", "update", "--force", "--detach=false", f"{STACK}_app")
            wait(1)
            ledger = load.stop()
    said = ledger.blame() or f"of {len(ledger)}"
    table.add(results, "failures, scaled and updated", 0, len(ledger.failures), said)
    return results


def ready():
    (proxy,) = docker("ps", "-q", "-f", f"name={STACK}_proxy").split() or ["none"]
    rows = docker("exec", proxy, "banyan", "show", "backends", check=False).splitlines()
    return [row for row in rows if " up " in row]


# ---- systemd ----

MACHINE = """FROM banyan-app
USER root
COPY --from=banyan-proxy /usr/local/bin/banyan-proxy /usr/local/bin/
COPY --from=banyan-proxy /usr/local/share/banyan/packages /usr/local/share/banyan/proxy-packages
RUN apt-get update -q && xargs apt-get install -q -y --no-install-recommends systemd \\
    </usr/local/share/banyan/proxy-packages
COPY hello.py /srv/shop/shop.py
RUN mkdir /etc/banyan && \\
    printf '%s\\n' APPLICATION=shop:app BANYAN_PROCESSES=2 BANYAN_POOL=shop >/etc/banyan/shop.env && \\
    printf 'pools:\\n- name: shop\\n  backends:\\n' >/etc/banyan/proxy.yaml && \\
    printf '  - endpoint: ipc:///run/banyan-shop/%d.sock\\n' 0 1 >>/etc/banyan/proxy.yaml && \\
    systemctl enable banyan-proxy.socket banyan-proxy banyan-app@shop
STOPSIGNAL SIGRTMIN+3
ENTRYPOINT ["/usr/lib/systemd/systemd"]
"""
AS_MACHINE = ["--cap-add", "SYS_ADMIN", "--security-opt", "seccomp=unconfined", "--security-opt",
              "apparmor=unconfined", "--cgroupns=private", "--tmpfs", "/run", "--tmpfs", "/run/lock",
              "--tmpfs", "/tmp"]
BOOT_S = 30


def systemd(programs, short):
    """The units under a systemd: reloaded, upgraded, restarted, killed under load."""
    results = table.Results("systemd")
    build_images()
    build("banyan-machine", MACHINE, HELLO)
    machine = docker("run", "-d", *AS_MACHINE, "banyan-machine")
    try:
        boot(machine)
        judge_units(machine, results)
    finally:
        docker("rm", "-f", "-v", machine)
    return results


def boot(machine):
    try:
        until(lambda: run_in(machine, "systemctl", "is-system-running") == "running", "systemd", BOOT_S)
    except RuntimeError as error:
        raise NotHere("no systemd runs in a container here") from error


def run_in(machine, *words):
    return docker("exec", machine, *words, check=False)


def unit(machine, name, what):
    return run_in(machine, "systemctl", "show", "-p", what, "--value", name)


def judge_units(machine, results):
    def proxy_says(text):
        return until(lambda: text in unit(machine, "banyan-proxy", "StatusText"), text, 30)

    def main_pid():
        return unit(machine, "banyan-proxy", "MainPID")

    def systemctl(*words):
        docker("exec", machine, "systemctl", *words)
        proxy_says("app servers up: 2 of 2")

    proxy_says("app servers up: 2 of 2")
    form = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
    with Load(f"{inspect(machine, form)}:80", **PATTERN) as load:
        wait(0.5)
        systemctl("reload", "banyan-proxy")
        systemctl("reload", "banyan-app@shop")
        before = main_pid()
        docker("exec", machine, "banyan", "--proxy", "/run/banyan/control.sock", "upgrade")
        until(lambda: main_pid() not in ("0", before), "another main process")
        proxy_says("app servers up: 2 of 2")
        systemctl("restart", "banyan-proxy")
        systemctl("restart", "banyan-app@shop")
        wait(0.5)
        ledger = load.stop()
    said = ledger.blame() or f"of {len(ledger)}"
    table.add(results, "failures, reloads, upgrade, restarts", 0, len(ledger.failures), said)
    before = main_pid()
    docker("exec", machine, "sh", "-c", f"kill -9 {before}")
    until(lambda: main_pid() not in ("0", before), "the killed proxy's successor")
    proxy_says("app servers up: 2 of 2")
    for name in ("banyan-proxy.socket", "banyan-proxy", "banyan-app@shop"):
        docker("exec", machine, "systemctl", "stop", name)
        table.add(results, f"{name} stopped", "success", unit(machine, name, "Result"))


EXPERIMENTS = [systemd, swarm]
