# SPDX-License-Identifier: MIT
"""Where a proxy listens: changed by a reload, passed to it by a service manager."""

import json
import os
import signal
import socket
import stat
import subprocess

import pytest
from conftest import HERE, PYTHON, Connection, children, free_port, program, until

BACKEND = HERE / "second_backend.py"


@pytest.fixture
def backend(start):
    endpoint = f"ipc://{start.folder}/app.sock"
    start(PYTHON, BACKEND, endpoint).wait_log("ready")
    return endpoint


def say(control, *words):
    argv = [program("banyan"), "--proxy", control, *words]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60)


def ask(address):
    with Connection(address) as c:
        return c.ask("GET", "/hello").status


def refuses(address):
    try:
        Connection(address).close()
    except (ConnectionRefusedError, FileNotFoundError):
        return True
    return False


def test_a_reload_opens_and_closes_addresses(start, backend):
    folder = start.folder
    old, new, metrics = free_port(), free_port(), free_port()
    path = folder / "proxy.yaml"
    a, b = str(folder / "a.sock"), str(folder / "b.sock")

    def write(bind, control, extra=""):
        path.write_text(
            f"bind: [{bind}]\ncontrol: [{control}]\nthreads: 2\n{extra}"
            f"pools: [{{name: default, backends: [{{endpoint: '{backend}'}}]}}]\n"
        )

    write(f"'127.0.0.1:{old}', 'unix:{folder}/web.sock'", f"'{a}'")
    proxy = start(program("banyan-proxy"), "--config", path)
    proxy.wait_log("listening on")
    until(lambda: ask(("127.0.0.1", old)) == 200, "the app server")
    with Connection(("127.0.0.1", old)) as kept, Connection(f"{folder}/web.sock") as local:
        assert kept.ask("GET", "/hello").status == local.ask("GET", "/hello").status == 200
        operator = socket.socket(socket.AF_UNIX)
        operator.connect(a)

        # Another program has one of them: nothing changes.
        write(f"'127.0.0.1:{new}', '192.0.2.1:1'", f"'{b}'")
        refused = say(a, "reload")
        assert refused.returncode == 1
        assert "cannot listen on http://192.0.2.1:1: " in refused.stderr
        assert refuses(("127.0.0.1", new)) and refuses(b)
        assert ask(("127.0.0.1", old)) == 200

        write(
            f"'localhost:{old}', '127.0.0.1:{new}'",
            f"'{b}', 'viewer:{folder}/v.sock'",
            f"metrics: '127.0.0.1:{metrics}'\n",
        )
        done = say(a, "reload")
        assert done.returncode == 0, done
        assert 'bind: "127.0.0.1:' in done.stdout and "takes a restart" not in done.stdout
        assert ask(("127.0.0.1", new)) == ask(("127.0.0.1", old)) == 200
        with Connection(("127.0.0.1", metrics)) as c:
            assert c.ask("GET", "/metrics").status == 200
        assert stat.S_IMODE(os.stat(b).st_mode) == 0o600
        assert refuses(a) and refuses(f"{folder}/web.sock")
        assert not os.path.exists(a) and not os.path.exists(f"{folder}/web.sock")
        # Connections live on, an operator's too.
        assert kept.ask("GET", "/hello").status == local.ask("GET", "/hello").status == 200
        operator.sendall(b"ping\n")
        assert b"=0\n" in operator.recv(1000)
        operator.close()
        rows = json.loads(say(b, "--json", "show", "listeners").stdout)["listeners"]
        names = {r["address"] for r in rows}
        assert {f"http://127.0.0.1:{old}", f"http://127.0.0.1:{new}"} <= names
        assert f"unix:{folder}/web.sock" not in names

        # Everything goes but one; the viewer's socket becomes an operator's.
        assert say(f"{folder}/v.sock", "drain", "b1").returncode == 1
        write(f"'127.0.0.1:{new}'", f"'{b}', 'operator:{folder}/v.sock'")
        assert say(b, "reload").returncode == 0
        assert refuses(("127.0.0.1", old)) and refuses(("127.0.0.1", metrics))
        assert "for the role" not in say(f"{folder}/v.sock", "pause", "none").stderr
        assert kept.ask("GET", "/hello").status == ask(("127.0.0.1", new)) == 200
    assert proxy.stop() == 0
    assert not os.path.exists(b)


def pass_sockets(start, sockets, argv, names):
    """Starts it as a service manager would: the sockets are its descriptors 3, 4 ..."""
    high = [os.dup2(s.fileno(), 200 + i) for i, s in enumerate(sockets)]
    moves = " ".join(f"{3 + i}<&{fd} {fd}<&-" for i, fd in enumerate(high))
    script = f'exec {moves}; LISTEN_PID=$$ exec "$@"'
    env = {"LISTEN_FDS": str(len(sockets)), "LISTEN_FDNAMES": ":".join(names)}
    process = start("bash", "-c", script, "bash", *argv, env=env, pass_fds=high)
    for fd in high:
        os.close(fd)
    return process


def test_sockets_of_a_service_manager_are_taken(start, backend):
    folder = start.folder
    sockets = [socket.socket(), socket.socket(), socket.socket(socket.AF_UNIX)]
    for s, at in zip(sockets, [("127.0.0.1", 0), ("127.0.0.1", 0), f"{folder}/control.sock"]):
        s.bind(at)
        s.listen(100)
    by_address, by_name = sockets[0].getsockname(), sockets[1].getsockname()
    # Who comes before it runs, waits.
    early = Connection(by_name)
    early.request("GET", "/hello")
    proxy = pass_sockets(
        start,
        sockets,
        [
            *(program("banyan-proxy"), "--backend", backend, "--threads", 3),
            *("--bind", "127.0.0.1:%d" % by_address[1], "--bind", "fd:web"),
            *("--control", f"{folder}/control.sock"),
        ],
        ["http", "web", "control"],
    )
    proxy.wait_log("listening on http://127.0.0.1:%d" % by_address[1])
    proxy.wait_log("listening on http://127.0.0.1:%d" % by_name[1])
    assert early.response("GET").status == 200
    early.close()
    for _ in range(20):
        assert ask(by_address) == ask(by_name) == 200
    assert say(f"{folder}/control.sock", "ping").returncode == 0
    assert proxy.stop() == 0
    # They are the manager's: its next process gets them again.
    assert os.path.exists(f"{folder}/control.sock")
    Connection(by_name).close()
    for s in sockets:
        s.close()


def test_serve_passes_them_to_its_proxy(start):
    web = socket.socket()
    web.bind(("127.0.0.1", 0))
    web.listen(100)
    address = web.getsockname()
    site = pass_sockets(
        start,
        [web],
        [
            *(program("banyan"), "serve", "named:app", "--python", PYTHON, "--bind", "fd:web"),
            *("--chdir", str(HERE / "apps"), "--workers", "1", "-e", "APP_NAME=x"),
        ],
        ["web"],
    )
    site.wait_log("listening on http://127.0.0.1:%d" % address[1])
    assert ask(address) == 200
    # It gets them again when it has died; who comes meanwhile, waits.
    (proxy,) = [p for p, n in children(site.pid).items() if n == "banyan-proxy"]
    os.kill(proxy, signal.SIGKILL)
    for _ in range(5):
        assert ask(address) == 200
    site.wait_log("was killed by SIGKILL; restarting")
    assert site.stop() == 0
    web.close()


def test_a_socket_that_was_not_passed_is_named(start, backend):
    proxy = start(program("banyan-proxy"), "--bind", "fd:web", "--backend", backend)
    assert proxy.wait() == 1
    assert "cannot listen on fd:web: no socket of that name was passed" in proxy.log()
