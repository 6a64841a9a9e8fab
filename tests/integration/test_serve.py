# SPDX-License-Identifier: MIT
"""`banyan serve` as an operator meets it: start-up lines, signals, deaths, options, and
that it leaves nothing behind."""

import ast
import functools
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import threading
import time

import pytest
from conftest import HERE, Connection, free_port, program, until

PYTHON = "/usr/bin/python3"
START = re.compile(r"workers (\d+) x (\d+) threads, pids((?: \d+)+)")


class Serve:
    """One `banyan serve`, its run directory in a folder of its own."""

    def __init__(
        self, start, *options, app="apps.process", env=None, cwd=HERE, address=None
    ):
        self.port = free_port()
        self.address = address or ("127.0.0.1", self.port)
        self.folder = start.folder / f"run{len(start.processes)}"
        self.folder.mkdir()
        bind = ["--bind", f"127.0.0.1:{self.port}"] if address is None else []
        self.process = start(
            program("banyan"),
            "serve",
            *bind,
            "--python",
            PYTHON,
            *options,
            app,
            cwd=cwd,
            env={"XDG_RUNTIME_DIR": str(self.folder), **(env or {})},
        )
        self.pid = self.process.pid

    def log(self):
        return self.process.log()

    def ready(self):
        self.process.wait_log(" threads, pids ")
        return self

    def worker_pids(self):
        """Of the last complete start."""
        return [int(pid) for pid in START.findall(self.log())[-1][2].split()]

    def connect(self):
        return Connection(self.address)

    def get(self, target):
        with self.connect() as connection:
            return connection.ask("GET", target)

    def stop(self):
        code = self.process.stop()
        self.assert_nothing_left()
        return code

    def assert_nothing_left(self):
        assert session_pids(self.pid) == [], self.log()
        assert list(self.folder.iterdir()) == [], self.log()


def stat_fields(pid):
    text = pathlib.Path(f"/proc/{pid}/stat").read_text()
    return text.rpartition(")")[2].split()


def session_pids(session):
    """Processes of a session that are no zombies."""
    pids = []
    for entry in pathlib.Path("/proc").iterdir():
        try:
            fields = stat_fields(entry.name) if entry.name.isdigit() else None
        except (FileNotFoundError, ProcessLookupError):
            continue
        if fields and int(fields[3]) == session and fields[0] != "Z":
            pids.append(int(entry.name))
    return pids


def is_alive(pid):
    try:
        return stat_fields(pid)[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def name_of(pid):
    return pathlib.Path(f"/proc/{pid}/comm").read_text().strip()


def children(pid):
    text = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in text.split()]


def child_named(serve, prefix):
    return next(pid for pid in children(serve.pid) if name_of(pid).startswith(prefix))


@pytest.fixture
def serve(start):
    return lambda *options, **more: Serve(start, *options, **more)


# ---- start ----


def test_says_what_it_serves_where_and_with_which_processes(serve):
    s = serve("--workers", "2", "--threads", "3").ready()
    log = s.log()
    assert re.search(r" INFO +banyan \d+\.\d+\.\d+$", log, re.M)
    assert re.search(r" INFO +application apps\.process \(interface auto\)$", log, re.M)
    assert f"listening on http://127.0.0.1:{s.port}\n" in log
    assert START.search(log).groups()[:2] == ("2", "3")
    proxy = int(re.search(r"proxy pid (\d+)", log).group(1))
    assert name_of(proxy) == "banyan-proxy"
    assert [name_of(pid) for pid in s.worker_pids()] == ["banyan-app-0", "banyan-app-1"]
    assert int(s.get("/?pid").body) in s.worker_pids()
    assert s.stop() == 0


def test_says_nothing_when_warnings_are_asked_for(serve):
    s = serve("--log-level", "warning")
    until(lambda: responds(s), "an answer")
    assert s.stop() == 0
    assert s.log() == ""


def responds(s):
    try:
        return s.get("/?pid").status == 200
    except OSError:
        return False


def test_a_worker_for_each_core_is_the_default(serve):
    s = serve().ready()
    assert len(s.worker_pids()) == min(len(os.sched_getaffinity(0)), 64)


def test_serves_before_the_workers_are_ready(serve, tmp_path):
    (tmp_path / "slow.py").write_text(
        "import time\ntime.sleep(0.5)\nfrom apps.process import application\n"
    )
    s = serve("--pythonpath", HERE, "--workers", "1", app="slow", cwd=tmp_path)
    s.process.wait_log("listening on")
    assert "pids" not in s.log()
    assert s.get("/?pid").status == 200


@pytest.mark.parametrize(
    "app, explanation",
    [
        ("apps.boom", "RuntimeError: the shop is closed"),
        ("apps.nowhere", "apps.nowhere"),
        ("apps.process:nothing", "nothing"),
    ],
)
def test_an_import_failure_shows_its_traceback_and_ends_with_3(serve, app, explanation):
    s = serve("--workers", "2", app=app)
    assert s.process.wait() == 3
    assert explanation in s.log()
    assert "could not start" in s.log()
    s.assert_nothing_left()


@pytest.mark.parametrize("preload", [["--preload"], []])
def test_a_syntax_error_names_file_and_line(serve, tmp_path, preload):
    (tmp_path / "broken.py").write_text("x = 1\ndef f(:\n")
    s = serve("--chdir", tmp_path, *preload, app="broken:app")
    assert s.process.wait() == 3
    assert "broken.py" in s.log() and "line 2" in s.log() and "SyntaxError" in s.log()


def test_an_address_in_use_is_named_and_ends_with_1(serve, start):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        s = serve("--bind", f"127.0.0.1:{port}", address=("127.0.0.1", port))
        assert s.process.wait() == 1
    assert f"127.0.0.1:{port}" in s.log()
    assert "in use" in s.log()
    s.assert_nothing_left()


def test_a_python_that_is_not_there_is_named(serve):
    s = serve("--python", "/nonexistent/python3")
    assert s.process.wait() == 1
    assert "--python /nonexistent/python3" in s.log()
    s.assert_nothing_left()


def test_a_directory_that_is_not_there_is_named(serve):
    s = serve("--chdir", "/nonexistent")
    assert s.process.wait() == 1
    assert "/nonexistent" in s.log()
    s.assert_nothing_left()


# ---- stopping ----


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_and_nothing_is_left(serve, number):
    s = serve("--workers", "2").ready()
    assert s.get("/?pid").status == 200
    s.process.signal(number)
    assert s.process.wait() == 0
    s.assert_nothing_left()
    with pytest.raises(ConnectionRefusedError):
        s.connect()


def test_running_requests_finish_and_nobody_else_gets_in(serve):
    s = serve("--workers", "1", app="apps.spin").ready()
    with s.connect() as running, s.connect() as idle:
        running.request("GET", "/?sleep&1")
        s.process.wait_log("runs for")
        s.process.signal(signal.SIGTERM)
        assert idle.is_closed()
        with pytest.raises(ConnectionRefusedError):
            s.connect()
        assert running.response().body == b"done"
    assert s.process.wait() == 0
    s.assert_nothing_left()


def test_the_terminals_interrupt_reaches_only_the_supervisor(serve):
    """^C goes to the foreground process group; what runs must still finish."""
    s = serve("--workers", "1", app="apps.spin").ready()
    with s.connect() as running:
        running.request("GET", "/?sleep&0.7")
        s.process.wait_log("runs for")
        os.killpg(os.getpgid(s.pid), signal.SIGINT)
        assert running.response().body == b"done"
    assert s.process.wait() == 0
    s.assert_nothing_left()


def test_a_second_signal_stops_it_at_once(serve):
    s = serve("--workers", "1", app="apps.spin").ready()
    with s.connect() as running:
        running.request("GET", "/?sleep&30")
        s.process.wait_log("runs for")
        s.process.signal(signal.SIGTERM)
        s.process.wait_log("stopping on SIGTERM")
        before = time.monotonic()
        s.process.signal(signal.SIGINT)
        assert s.process.wait() == 0
        assert time.monotonic() - before < 20
        assert running.is_closed()
    until(lambda: session_pids(s.pid) == [], "the end of all processes")
    s.assert_nothing_left()


def test_what_does_not_finish_is_cut_after_the_graceful_timeout(serve):
    s = serve("--workers", "1", "--graceful-timeout", "0.5", app="apps.spin").ready()
    with s.connect() as running:
        running.request("GET", "/?sleep&30")
        s.process.wait_log("runs for")
        before = time.monotonic()
        s.process.signal(signal.SIGTERM)
        assert s.process.wait() == 0
        assert time.monotonic() - before < 20
    s.assert_nothing_left()


def test_stops_while_it_is_still_starting(serve, tmp_path):
    (tmp_path / "forever.py").write_text("import time\ntime.sleep(60)\n")
    s = serve(app="forever", cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)})
    s.process.wait_log("listening on")
    time.sleep(0.3)
    s.process.signal(signal.SIGTERM)
    assert s.process.wait() == 0
    s.assert_nothing_left()


# ---- deaths ----


def test_a_killed_worker_is_replaced_and_the_reason_logged(serve):
    s = serve("--workers", "2").ready()
    victim = s.worker_pids()[1]
    os.kill(victim, signal.SIGKILL)
    s.process.wait_log(f"worker 1 (pid {victim}) was killed by SIGKILL; restarting")
    until(lambda: s.log().count("worker 1 (pid") >= 3, "its successor")
    for _ in range(20):
        assert s.get("/?pid").status == 200
    assert s.stop() == 0


def test_no_get_fails_while_workers_are_killed(serve):
    s = serve("--workers", "2").ready()
    stop, failures, count = threading.Event(), [], [0]

    def ask():
        with s.connect() as connection:
            while not stop.is_set():
                r = connection.ask("GET", "/?pid")
                count[0] += 1
                if r.status != 200:
                    failures.append(r)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for turn in range(3):
        time.sleep(0.3)
        workers = functools.partial(children, child_named(s, "banyan-app"))
        os.kill(until(workers, "workers")[turn % 2], signal.SIGKILL)
    time.sleep(0.3)
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert count[0] > 100
    assert s.stop() == 0


def test_a_worker_that_keeps_dying_is_restarted_slower_and_slower(serve, tmp_path):
    (tmp_path / "dying.py").write_text(
        "import os, pathlib\n"
        "first = pathlib.Path('first')\n"
        "if first.exists():\n"
        "    os._exit(9)\n"
        "from apps.process import application\n"
    )
    s = serve("--pythonpath", HERE, "--workers", "1", app="dying", cwd=tmp_path).ready()
    (tmp_path / "first").touch()
    os.kill(s.worker_pids()[0], signal.SIGKILL)
    s.process.wait_log("exited with code 9; restarting in 0.1 s")
    s.process.wait_log("exited with code 9; restarting in 0.2 s")
    (tmp_path / "first").unlink()
    assert s.get("/?pid").status == 200
    assert s.stop() == 0


def test_the_address_is_back_when_the_proxy_was_killed(serve):
    s = serve("--workers", "1").ready()
    workers = s.worker_pids()
    proxy = child_named(s, "banyan-proxy")
    with s.connect() as lost:
        os.kill(proxy, signal.SIGKILL)
        assert lost.is_closed()
    until(lambda: responds(s), "the new proxy", 5)
    assert f"proxy (pid {proxy}) was killed by SIGKILL; restarting" in s.log()
    assert int(s.get("/?pid").body) in workers
    assert s.stop() == 0


def test_the_app_server_is_restarted_when_its_master_was_killed(serve):
    s = serve("--workers", "2").ready()
    old, master = s.worker_pids(), child_named(s, "banyan-app")
    os.kill(master, signal.SIGKILL)
    until(lambda: not any(map(is_alive, old)), "the end of its workers")
    assert int(s.get("/?pid").body) not in old
    assert f"app server (pid {master}) was killed by SIGKILL; restarting" in s.log()
    assert s.stop() == 0


def test_nobody_survives_a_killed_supervisor_and_the_next_one_cleans_up(serve, start):
    s = serve("--workers", "2").ready()
    assert len(session_pids(s.pid)) == 5
    s.process.signal(signal.SIGKILL)
    s.process.wait()
    until(lambda: session_pids(s.pid) == [], "the end of all processes", 5)
    assert len(list(s.folder.iterdir())) == 1
    env = {"XDG_RUNTIME_DIR": str(s.folder)}
    again = serve("--workers", "1", env=env).ready()
    assert len(list(s.folder.iterdir())) == 1
    assert again.stop() == 0
    assert list(s.folder.iterdir()) == []


# ---- other signals ----


def test_sighup_replaces_the_workers_without_a_failed_request(serve):
    s = serve("--workers", "2").ready()
    old = s.worker_pids()
    stop, failures = threading.Event(), []

    def ask():
        with s.connect() as connection:
            while not stop.is_set():
                r = connection.ask("GET", "/?pid")
                if r.status != 200:
                    failures.append(r)

    thread = threading.Thread(target=ask)
    thread.start()
    s.process.signal(signal.SIGHUP)
    s.process.wait_log("all workers are replaced")
    stop.set()
    thread.join()
    assert failures == []
    assert not any(map(is_alive, old))
    assert int(s.get("/?pid").body) not in old
    assert s.stop() == 0


SHOP = """
def application(environ, start_response):
    start_response('200 OK', [])
    return [b'%s']
"""


def write_shop(folder, text):
    (folder / "shop.py").write_text(text)
    shutil.rmtree(folder / "__pycache__", ignore_errors=True)


def test_sighup_brings_in_new_code_and_keeps_the_old_when_it_is_broken(serve, tmp_path):
    write_shop(tmp_path, SHOP % "old")
    env = {"PYTHONDONTWRITEBYTECODE": "1"}
    s = serve("--workers", "2", app="shop", cwd=tmp_path, env=env).ready()
    assert s.get("/").body == b"old"
    write_shop(tmp_path, "raise RuntimeError('typo')\n")
    s.process.signal(signal.SIGHUP)
    s.process.wait_log("the workers are not replaced")
    assert "RuntimeError: typo" in s.log()
    assert {s.get("/").body for _ in range(20)} == {b"old"}
    assert s.log().count(" is ready on ") == 2
    write_shop(tmp_path, SHOP % "new")
    s.process.signal(signal.SIGHUP)
    s.process.wait_log("all workers are replaced")
    assert {s.get("/").body for _ in range(20)} == {b"new"}
    assert s.stop() == 0


@pytest.mark.parametrize("interface", ["wsgi", "asgi"])
def test_one_worker_is_recycled_and_nobody_waits_for_the_import(serve, interface):
    app = f"apps.slow_import:{interface}"
    s = serve("--workers", "1", "--max-requests", "200", app=app, env={"IMPORT_S": "2"}).ready()
    pids, longest_s = [], 0
    with s.connect() as connection:
        while len(pids) < 3:
            began = time.monotonic()
            answer = connection.ask("GET", "/")
            longest_s = max(longest_s, time.monotonic() - began)
            assert answer.status == 200
            if answer.body not in pids:
                pids.append(answer.body)
            time.sleep(0.001)
    assert longest_s < 0.6
    assert s.log().count("asks to be replaced") == 2
    assert s.stop() == 0


@pytest.mark.parametrize("interface, moments", [("wsgi", 2), ("asgi", 3)])
def test_what_the_application_starts_ends_on_sigterm_alone(serve, interface, moments):
    """Neither a program nor a forked process ignores it, and it is none of the worker's."""
    s = serve("--workers", "1", app=f"apps.children:{interface}").ready()
    before, *ends = ast.literal_eval(s.get("/").body.decode())
    assert ends == [[-signal.SIGTERM] * 2] * moments
    s.process.signal(signal.SIGHUP)
    s.process.wait_log("all workers are replaced")
    after, *ends = ast.literal_eval(s.get("/").body.decode())
    assert after != before and ends == [[-signal.SIGTERM] * 2] * moments
    assert s.stop() == 0


def test_a_spent_worker_serves_while_the_code_is_broken(serve, tmp_path):
    write_shop(tmp_path, SHOP % "old")
    env = {"PYTHONDONTWRITEBYTECODE": "1"}
    s = serve("--workers", "1", "--max-requests", "5", app="shop", cwd=tmp_path, env=env).ready()
    write_shop(tmp_path, "raise RuntimeError('typo')\n")
    for _ in range(10):
        assert s.get("/").body == b"old"
    until(lambda: s.log().count("; the one before goes on") > 2, "the third attempt")
    assert s.get("/").body == b"old"
    write_shop(tmp_path, SHOP % "new")
    until(lambda: s.get("/").body == b"new", "the next process")
    assert s.stop() == 0


def test_sigusr1_reopens_the_access_log(serve, tmp_path):
    log = tmp_path / "access.log"
    s = serve("--workers", "1", "--access-logfile", log).ready()
    s.get("/first?pid")
    until(lambda: log.exists() and "/first" in log.read_text(), "the first line")
    log.rename(tmp_path / "access.log.1")
    s.process.signal(signal.SIGUSR1)
    until(log.exists, "the new file")
    s.get("/second?pid")
    until(lambda: "/second" in log.read_text(), "the second line")
    assert "/second" not in (tmp_path / "access.log.1").read_text()


# ---- options ----


def test_listens_on_several_addresses_and_a_unix_socket(serve, start):
    port, path = free_port(), str(start.folder / "http.sock")
    s = serve("--bind", f"127.0.0.1:{port}", "-b", f"unix:{path}", address=path).ready()
    assert s.get("/?pid").status == 200
    s.address = ("127.0.0.1", port)
    assert s.get("/?pid").status == 200
    assert s.stop() == 0
    assert not os.path.exists(path)


def test_env_is_what_the_application_sees(serve):
    s = serve("--env", "COLOUR=green", "-e", "EMPTY=", "-e", "TWO=a=b,c").ready()
    assert s.get("/?env=COLOUR").body == b"green"
    assert s.get("/?env=EMPTY").body == b""
    assert s.get("/?env=TWO").body == b"a=b,c"


@pytest.mark.parametrize("host", [["--embedded"], []])
def test_env_is_there_at_import_in_both_hosts(serve, tmp_path, host):
    (tmp_path / "early.py").write_text(
        "import os\nCOLOUR = os.environ['COLOUR']\n"
        "from apps.process import application\n"
    )
    options = ["--pythonpath", HERE, "--env", "COLOUR=green", *host]
    s = serve(*options, app="early", cwd=tmp_path).ready()
    assert s.get("/?env=COLOUR").body == b"green"


def test_chdir_is_followed_once_and_found_first(serve, tmp_path):
    (tmp_path / "a" / "a").mkdir(parents=True)
    (tmp_path / "a" / "shop.py").write_text("from apps.process import application\n")
    s = serve("--chdir", "a", "--pythonpath", HERE, app="shop", cwd=tmp_path).ready()
    assert s.get("/?cwd").body.decode() == str(tmp_path / "a")


def test_the_environment_names_every_option(serve):
    port = free_port()
    env = {
        "BANYAN_BIND": f"127.0.0.1:{port}",
        "BANYAN_WORKERS": "2",
        "BANYAN_THREADS": "5",
        "BANYAN_ENV": "COLOUR=green,SHAPE=round",
        "BANYAN_MAX_BODY": "1K",
    }
    s = serve("--workers", "1", env=env, address=("127.0.0.1", port)).ready()
    assert START.search(s.log()).groups()[:2] == ("1", "5")
    assert s.get("/?env=SHAPE").body == b"round"
    with s.connect() as connection:
        assert connection.ask("POST", "/?pid", body=b"x" * 2000).status == 413
    threads = [t for t in os.listdir(f"/proc/{child_named(s, 'banyan-proxy')}/task")]
    cores = min(len(os.sched_getaffinity(0)), 4)
    assert len(threads) < cores + 5, "BANYAN_THREADS must not reach the proxy"


def test_the_embedded_interpreter_serves_too(serve):
    s = serve("--embedded", "--workers", "2").ready()
    assert s.get("/?version").status == 200
    assert name_of(s.worker_pids()[0]) == "banyan-app-0"
    assert s.stop() == 0


def test_preload_imports_once(serve, tmp_path):
    (tmp_path / "once.py").write_text(
        "open('imports', 'a').write('x')\nfrom apps.process import application\n"
    )
    options = ["--pythonpath", HERE, "--preload", "--workers", "3"]
    s = serve(*options, app="once", cwd=tmp_path).ready()
    assert (tmp_path / "imports").read_text() == "x"
    assert int(s.get("/?pid").body) in s.worker_pids()
    assert len(set(s.worker_pids())) == 3
    assert s.stop() == 0


def test_standard_input_is_empty(serve):
    s = serve("--workers", "1").ready()
    assert s.get("/?stdin").body == b"''"


# ---- the command itself ----


def run(*words):
    return subprocess.run(
        [program(words[0]), *words[1:]], capture_output=True, text=True, timeout=20
    )


@pytest.mark.parametrize("name", ["banyan", "banyan-proxy", "banyan-app"])
def test_every_program_knows_its_version(name):
    done = run(name, "--version")
    assert done.returncode == 0
    assert re.fullmatch(rf"{name} \d+\.\d+\.\d+\n", done.stdout)


def test_a_word_that_is_no_command_is_a_proxys_to_understand(monkeypatch):
    monkeypatch.setenv("BANYAN_PROXY", "/nowhere.sock")
    done = run("banyan", "sing")
    assert done.returncode == 3
    assert "/nowhere.sock: No such file" in done.stderr
    assert run("banyan", "help").returncode == 0


@pytest.mark.parametrize(
    "words, explanation",
    [
        (["serve"], "MODULE:APP is missing"),
        (["serve", "--threads", "many", "a:b"], "--threads"),
        (["serve", "-k", "gevent", "a:b"], "-k"),
        (["serve", "--bind", "nonsense", "a:b"], "nonsense"),
    ],
)
def test_a_wrong_option_is_named(words, explanation, tmp_path):
    done = subprocess.run(
        [program("banyan"), *words],
        capture_output=True,
        text=True,
        timeout=20,
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
    )
    assert done.returncode == 2
    assert explanation in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words",
    [
        ["banyan"],
        ["banyan", "serve", "--threads", "0", "a:b"],
        ["banyan-app", "--threads", "0", "a:b"],
        ["banyan-app"],
        ["banyan-proxy"],
        ["banyan-proxy", "--nonsense"],
        ["banyan-proxy", "--backend", "ipc:///x", "operand"],
        ["banyan-proxy", "--backend", "ipc:///x", "--max-body", "many"],
        ["banyan-proxy", "--backend", "ipc:///x", "--request-buffering", "yes"],
    ],
)
def test_every_program_ends_with_2_for_a_wrong_command_line(words):
    done = run(*words)
    assert done.returncode == 2
    assert done.stderr


def test_an_address_that_cannot_be_had_is_1():
    done = run("banyan-proxy", "--backend", "ipc:///x", "--bind", "192.0.2.1:80")
    assert done.returncode == 1
    assert "no such address" in done.stderr


def test_help_lists_the_options_and_the_environment():
    done = run("banyan", "serve", "--help")
    assert done.returncode == 0
    for word in ["--bind", "--workers", "--graceful-timeout", "BANYAN_BIND"]:
        assert word in done.stdout
