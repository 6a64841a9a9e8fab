# SPDX-License-Identifier: MIT
"""`banyan top` in a terminal: what stands on the screen, keys, other sizes, proxies that go away
and come back; and without a terminal."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios

import pytest
from conftest import Connection, free_port, program, until
from test_admin import Plane

pyte = pytest.importorskip("pyte", reason="Debian's python3-pyte is not installed")


class Terminal:
    """A program on a terminal of its own, and its screen. pyte is a Linux console; it knows
    nothing of xterm's repeated characters."""

    def __init__(self, *argv, columns=80, lines=24, env=None):
        self.screen = pyte.Screen(columns, lines)
        self.stream = pyte.ByteStream(self.screen)
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ.update(env or {}, TERM="linux", LC_ALL="C.UTF-8")
            self.set_size_of(0, columns, lines)
            os.execv(argv[0], [str(a) for a in argv])
        self.status = None

    @staticmethod
    def set_size_of(fd, columns, lines):
        fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def resize(self, columns, lines):
        self.screen.resize(lines, columns)
        self.set_size_of(self.fd, columns, lines)

    def take(self):
        while select.select([self.fd], [], [], 0)[0]:
            try:
                self.stream.feed(os.read(self.fd, 65536))
            except OSError:  # it ended
                return

    def lines(self):
        self.take()
        return [line.rstrip() for line in self.screen.display]

    def text(self):
        return "\n".join(self.lines())

    def until(self, pattern, flags=re.M):
        """The match of the pattern, once it is on the screen."""
        try:
            return until(lambda: re.search(pattern, self.text(), flags), repr(pattern))
        except AssertionError:
            raise AssertionError(f"{pattern!r} is not there:\n{self.text()}") from None

    def type(self, keys):
        os.write(self.fd, keys)

    def wait(self):
        """Its exit code."""

        def is_over():
            self.take()
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.status = status if pid else None
            return pid

        until(is_over, "the end")
        return os.waitstatus_to_exitcode(self.status)

    def close(self):
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.fd)


@pytest.fixture
def terminal_of():
    opened = []

    def open_one(*words, **options):
        opened.append(Terminal(program("banyan"), "top", *words, **options))
        return opened[-1]

    yield open_one
    for terminal in opened:
        terminal.close()


def test_the_screen_shows_pools_and_backends_with_their_rates(start, terminal_of):
    plane = Plane(start)
    top = terminal_of("--proxy", plane.control, "--interval", "0.2")
    top.until(r"^banyan top - .*proxies 1/1  backends 2")
    top.until(r"^POOL +STATE +UP OF RUN QUEUE MAXWAIT/ms REQ/s")
    top.until(r"^default +serving +2 +2 ")
    top.until(r"^BACKEND +STATE +HEALTH +RUN +WAIT +REQ/s")
    top.until(r"^default/a +ready +up .*\n^default/b +ready +up ")
    top.until(r"^1-2 of 2 by BACKEND  q quit")
    assert all(len(line) <= 80 for line in top.lines())
    with Connection(plane.address) as c:

        def is_counted():
            assert c.ask("GET", "/hello").status == 200
            return re.search(r"proxies 1/1  backends 2  [1-9][0-9.]* req/s", top.text())

        until(is_counted, "requests are counted")
    plane.done("drain", "a")
    top.until(r"^default/a +drain ")
    top.type(b"q")
    assert top.wait() == 0


def test_keys_sort_and_scroll(start, terminal_of):
    plane = Plane(start, backends=("a", "b", "c"), threads=1)
    top = terminal_of("--proxy", plane.control, lines=10)
    top.until(r"^1-3 of 3 by BACKEND  q quit")
    top.until(r"^default/a .*\n^default/b ")
    top.type(b"r")
    top.until(r"^default/c .*\n^default/b ")
    top.until(r"by BACKEND reversed ")
    top.type(b"r")
    top.until(r"^default/a ")
    top.type(b"\x1b[C")  # the arrow to the right
    top.until(r"by STATE ")
    top.type(b">")
    top.until(r"by HEALTH ")
    top.type(b"<<")
    top.until(r"by BACKEND ")
    top.resize(80, 6)
    top.until(r"^1-\d of 3 by")
    top.type(b"\x1b[4~")  # End
    top.until(r"-3 of 3 by")
    top.until(r"^default/c ")
    top.type(b"\x1b[1~")
    top.until(r"^1-\d of 3 by")
    top.type(b"q")
    assert top.wait() == 0


def test_other_sizes(start, terminal_of):
    plane = Plane(start, backends=("a",), threads=1)
    top = terminal_of("--proxy", plane.control)
    top.until(r"^default/a ")
    assert "ENDPOINT" not in top.text()
    top.resize(250, 40)
    top.until(r"ENDPOINT")
    top.until(r"a\.sock$")
    for columns, lines in ((20, 5), (1, 1), (80, 24)):
        top.resize(columns, lines)
        until(lambda: len(top.lines()) == lines and top.lines()[0], "something is shown")
    top.until(r"^default/a +ready +up ")
    top.type(b"q")
    assert top.wait() == 0


def test_a_proxy_dies_and_comes_back(start, terminal_of):
    one, other = Plane(start, threads=1), Plane(start, backends=("c",), threads=1)
    words = ["--proxy", one.control, "--proxy", other.control, "--interval", "0.2"]
    top = terminal_of(*words, columns=160)
    top.until(r"proxies 2/2  backends 3")
    top.until(rf"^{re.escape(one.control)} +default/a ")
    top.until(rf"^{re.escape(other.control)} +default/c ")
    one.proxy.kill()
    top.until(r"proxies 1/2  backends 1")
    top.until(rf"^{re.escape(one.control)}: Connection refused")
    one.run()
    top.until(r"proxies 2/2  backends 3")
    assert "refused" not in top.text()
    # One that hangs is given up, and the keys are followed meanwhile.
    other.proxy.signal(signal.SIGSTOP)
    top.until(r"does not answer")
    top.until(r"proxies 1/2  backends 2")
    other.proxy.signal(signal.SIGCONT)
    top.until(r"proxies 2/2  backends 3")
    top.type(b"q")
    assert top.wait() == 0


def test_proxies_are_seen_over_tcp_too(start, terminal_of):
    remote = f"tcp://127.0.0.1:{free_port()}"
    plane = Plane(start, "--control", f"viewer:{remote}", backends=("a",), threads=1)
    top = terminal_of("--proxy", remote, "--interval", "0.2")
    top.until(r"^default/a +ready +up ")
    plane.proxy.kill()
    top.until(rf"^{re.escape(remote)}: ")
    top.until(r"proxies 0/1  backends 0")
    plane.run()
    top.until(r"^default/a +ready +up ")
    top.type(b"q")
    assert top.wait() == 0


def test_the_terminal_that_goes_away_ends_it(start, terminal_of):
    plane = Plane(start, backends=("a",), threads=1)
    top = terminal_of("--proxy", plane.control)
    top.until(r"^default/a ")
    os.close(top.fd)
    until(lambda: os.waitpid(top.pid, os.WNOHANG)[0], "the end")
    top.fd, top.status = os.open("/dev/null", os.O_RDONLY), 0


def test_without_a_terminal_it_prints_once(start):
    plane = Plane(start, threads=1)
    argv = [program("banyan"), "top", "--proxy", plane.control, "--interval", "0.2"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done
    pools, backends = done.stdout.split("\n\n")
    assert pools.splitlines()[1].split()[:4] == ["default", "serving", "2", "2"]
    assert [line.split()[:3] for line in backends.splitlines()[1:]] == [
        ["default/a", "ready", "up"],
        ["default/b", "ready", "up"],
    ]
    assert "\x1b" not in done.stdout and "ENDPOINT" in done.stdout
    nowhere = [*argv[:3], str(start.folder / "nowhere.sock"), "--once"]
    for words, code in ((nowhere, 3), ([*nowhere, "--proxy", plane.control], 4)):
        done = subprocess.run(words, capture_output=True, text=True, timeout=60)
        assert done.returncode == code and "nowhere.sock: No such file" in done.stderr
    for words, says in (
        (["--sort", "LUCK"], "no column is called"),
        (["now"], "is no option"),
        (["--interval", "never"], "--interval"),
    ):
        done = subprocess.run([*argv, *words], capture_output=True, text=True, timeout=60)
        assert done.returncode == 2 and says in done.stderr, done


def test_an_unknown_terminal_is_named(start, terminal_of):
    plane = Plane(start, backends=("a",), threads=1)
    argv = [program("banyan"), "top", "--proxy", plane.control]
    top = Terminal("/usr/bin/env", "TERM=teletype-1", *argv)
    top.until(r'terminal type "teletype-1" is unknown')
    assert top.wait() == 1
    top.close()
