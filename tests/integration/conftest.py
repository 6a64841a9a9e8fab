# SPDX-License-Identifier: MIT
"""What integration tests share: Banyan's programs, processes that end with their test,
and an HTTP client that sees every byte.

Run with Debian's interpreter: /usr/bin/python3 -m pytest tests/integration
BANYAN_BIN names the folder of the programs (default: build/dev/bin).
"""

import itertools
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

import pytest

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parents[1]
PATIENCE_S = 20
FRAMEWORKS = ["flask", "django", "fastapi", "python-multipart", "itsdangerous", "a2wsgi"]
# banyan._core is instrumented, the interpreter that loads it is not.
SANITIZER = {}
if os.environ.get("BANYAN_PRESET") == "asan":
    library = subprocess.check_output(["gcc", "-print-file-name=libasan.so"], text=True)
    SANITIZER = {
        "LD_PRELOAD": library.strip(),
        "PYTHONMALLOC": "malloc",
        "ASAN_OPTIONS": "detect_leaks=0:" + os.environ.get("ASAN_OPTIONS", ""),
    }
FAILED = pytest.StashKey()


def program(name):
    folder = pathlib.Path(os.environ.get("BANYAN_BIN", ROOT / "build" / "dev" / "bin"))
    path = folder / name
    if not path.exists():
        pytest.skip(f"{path} is not built")
    return str(path.resolve())


# Below those that the kernel gives to who connects. Each process of pytest-xdist has its own.
PORTS_EACH = 20000 // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
FIRST_PORT = 12000 + PORTS_EACH * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
ports = itertools.cycle(range(FIRST_PORT, FIRST_PORT + PORTS_EACH))


def is_free(port):
    with socket.socket() as s:
        try:
            s.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port(count=1):
    """The first of `count` in a row. None of them is given again soon."""
    found = []
    while len(found) < count:
        port = next(ports)
        is_next = is_free(port) and (not found or port == found[-1] + 1)
        found = [*found, port] if is_next else [port] if is_free(port) else []
    return found[0]


def until(condition, what="it", patience_s=PATIENCE_S):
    """What the condition returns once it is true."""
    end = time.monotonic() + patience_s
    while not (result := condition()):
        assert time.monotonic() < end, f"{what} never came true"
        time.sleep(0.01)
    return result


class Process:
    """A program that writes to a log file."""

    def __init__(self, argv, log_path, env, cwd, pass_fds):
        self.argv, self.log_path = [str(a) for a in argv], log_path
        with open(log_path, "ab") as log:
            self.popen = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **SANITIZER, **(env or {})},
                cwd=cwd,
                pass_fds=pass_fds,
                start_new_session=True,
            )
        self.pid = self.popen.pid

    def log(self):
        return self.log_path.read_text(errors="replace")

    def wait_log(self, text):
        def has_text():
            assert text in self.log() or self.is_running(), f"ended:\n{self.log()}"
            return text in self.log()

        until(has_text, f"{text!r} in the log of {self.argv[0]}")

    def is_running(self):
        return self.popen.poll() is None

    def signal(self, number):
        self.popen.send_signal(number)

    def wait(self, patience_s=PATIENCE_S):
        """Its exit code; negative for a signal."""
        return self.popen.wait(patience_s)

    def stop(self):
        self.signal(signal.SIGTERM)
        return self.wait()

    def kill(self):
        """The process, and what is left of its session."""
        for send in (os.killpg, os.kill):
            try:
                send(self.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.popen.wait(PATIENCE_S)


class Starter:
    """start(argv ...) runs a program; `folder` is short enough for socket paths."""

    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="banyan-test-", dir="/tmp"))
        self.processes = []

    def __call__(self, *argv, env=None, cwd=None, pass_fds=()):
        log_path = self.folder / f"{len(self.processes)}.log"
        process = Process(argv, log_path, env, cwd, pass_fds)
        self.processes.append(process)
        return process

    def close(self, show_logs):
        for process in self.processes:
            process.kill()
            if show_logs:
                print(f"--- {' '.join(process.argv)}\n{process.log()[-20000:]}")
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    if outcome.get_result().failed:
        item.stash[FAILED] = item.session.stash[FAILED] = True


@pytest.fixture
def start(request):
    starter = Starter()
    yield starter
    starter.close(show_logs=request.node.stash.get(FAILED, False))


@pytest.fixture(scope="module")
def start_for_module(request):
    starter = Starter()
    yield starter
    starter.close(show_logs=request.session.stash.get(FAILED, False))


def children(pid):
    """Live processes below `pid`: {pid: name}."""
    found = {}
    for entry in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = entry.read_text("latin-1").partition("(")[2].rpartition(")")
        except OSError:
            continue
        state, parent = rest.split()[:2]
        if int(parent) == pid and state != "Z":
            found[int(entry.parent.name)] = name
    return found


def app_master(process):
    """The pid of the app server of a `banyan serve`."""
    return until(lambda: [p for p, n in children(process.pid).items() if n == "banyan-app"], "a master")[0]


class Site:
    """`banyan serve APP OPTIONS` on a free port of 127.0.0.1, up."""

    def __init__(self, start, app, *options):
        self.port = free_port()
        self.address = ("127.0.0.1", self.port)
        self.url = f"http://127.0.0.1:{self.port}"
        if not {"--python", "--embedded"} & set(options):
            options += ("--python", PYTHON)
        bind = f"127.0.0.1:{self.port}"
        self.process = start(program("banyan"), "serve", app, "--bind", bind, *options)
        self.process.wait_log(" is up (pid ")
        self.wait_log, self.log = self.process.wait_log, self.process.log

    def proxy(self):
        return until(lambda: [p for p, n in self.parts() if n == "banyan-proxy"], "a proxy")[0]

    def workers(self):
        """Pids of the app processes, in their order."""
        below = children(app_master(self.process))
        return sorted(below, key=lambda pid: below[pid])

    def parts(self):
        return children(self.process.pid).items()


@pytest.fixture
def site_of(start):
    """site_of(app, options...): a Site for one test."""
    return lambda *words: Site(start, *words)


@pytest.fixture(scope="module")
def module_site_of(start_for_module):
    """The same for the tests of a module."""
    return lambda *words: Site(start_for_module, *words)


@pytest.fixture(scope="module")
def sites(module_site_of):
    """sites(options...): for each set of options one Site with one process that runs
    apps/dispatch.py, up as long as the module."""
    started = {}

    def find(*options):
        if options not in started:
            words = ["--chdir", str(HERE), "--workers", "1", *options]
            started[options] = module_site_of("apps.dispatch", *words)
        return started[options]

    return find


@pytest.fixture(scope="session")
def framework_python(tmp_path_factory):
    """"debian" or "venv": an interpreter that has the frameworks. The virtual environment
    gets its own copies from the package index, once; where there is no index, it takes
    Debian's."""
    made = {"debian": PYTHON}

    def python(kind):
        if kind not in made:
            folder = tmp_path_factory.mktemp("venv")
            subprocess.run([PYTHON, "-m", "venv", folder], check=True, timeout=120)
            made[kind] = str(folder / "bin" / "python")
            install = ["pip", "install", "-q", "--no-compile", "--retries", "1", *FRAMEWORKS]
            if subprocess.run([made[kind], "-m", *install], timeout=300).returncode:
                again = ["venv", "--clear", "--system-site-packages", folder]
                subprocess.run([PYTHON, "-m", *again], check=True, timeout=120)
        return made[kind]

    return python


class Response:
    def __init__(self, status, reason, fields):
        self.status, self.reason, self.fields = status, reason, fields
        self.informs = []  # interim responses before it
        self.body = b""
        self.is_cut = False  # the connection ended before the body did

    def __getitem__(self, name):
        """The values of a field, joined; None without one."""
        values = [v for n, v in self.fields if n.lower() == name.lower()]
        return ", ".join(values) if values else None

    def __repr__(self):
        return f"<{self.status} {self.fields} {self.body[:200]!r} cut={self.is_cut}>"


class Connection:
    """HTTP/1.1 by hand."""

    def __init__(self, address, patience_s=PATIENCE_S, receive_buffer=None):
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        self.socket = socket.socket(family)
        self.socket.settimeout(patience_s)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.connect(address)
        self.buffer = b""
        self.trailers = []  # of the latest chunked body

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def request(self, method, target, fields=(), body=None):
        """Sends a request; a body gets its Content-Length."""
        lines = [f"{method} {target} HTTP/1.1", "Host: test"]
        lines += [f"{n}: {v}" for n, v in fields]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        self.send("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + (body or b""))

    def ask(self, method, target, fields=(), body=None):
        self.request(method, target, fields, body)
        return self.response(method)

    def receive(self):
        """More bytes into the buffer; False at the end."""
        try:
            data = self.socket.recv(262144)
        except ConnectionResetError:
            data = b""
        self.buffer += data
        return bool(data)

    def take(self, size):
        data, self.buffer = self.buffer[:size], self.buffer[size:]
        return data

    def take_line(self):
        while b"\n" not in self.buffer:
            if not self.receive():
                raise ConnectionError(f"closed after {self.buffer!r}")
        line = self.take(self.buffer.index(b"\n") + 1)
        assert line.endswith(b"\r\n"), line
        return line[:-2].decode("latin-1")

    def head(self):
        """Status line and fields of the next response, interim or final."""
        version, status, reason = (self.take_line() + " ").split(" ", 2)
        assert version == "HTTP/1.1", version
        fields = []
        while line := self.take_line():
            name, value = line.split(":", 1)
            fields.append((name, value.strip()))
        return Response(int(status), reason.strip(), fields)

    def response(self, method="GET"):
        """The next final response with its whole body."""
        informs = []
        while (r := self.head()).status < 200:
            informs.append(r)
        r.informs = informs
        parts = []
        r.is_cut = not all(self.pieces(r, method, parts))
        r.body = b"".join(parts)
        return r

    def pieces(self, r, method, parts):
        """Reads the body into `parts`; yields False if it is cut off."""
        if method == "HEAD" or r.status in (204, 304):
            return
        if (r["Transfer-Encoding"] or "").lower() == "chunked":
            yield self.take_chunks(parts)
        elif r["Content-Length"] is not None:
            yield self.take_exactly(int(r["Content-Length"]), parts)
        else:
            while self.receive():
                pass
            parts.append(self.take(len(self.buffer)))

    def take_exactly(self, size, parts):
        while size > 0:
            if not self.buffer and not self.receive():
                return False
            parts.append(self.take(size))
            size -= len(parts[-1])
        return True

    def take_chunks(self, parts):
        try:
            while size := int(self.take_line().split(";")[0], 16):
                if not self.take_exactly(size, parts):
                    return False
                assert self.take_line() == ""
            self.trailers = list(iter(self.take_line, ""))
        except ConnectionError:
            return False
        return True

    def is_closed(self):
        """Whether the other side closes, with nothing left to read."""
        return not self.buffer and not self.receive()


def chunked(*pieces):
    return b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in pieces) + b"0\r\n\r\n"


PYTHON = sys.executable
