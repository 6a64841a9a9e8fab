# SPDX-License-Identifier: MIT
"""TAB behind `banyan`, in real shells: verbs, names that a running proxy knows, files; and that
each verb of the table can be completed to its end."""

import os
import pty
import re
import select
import shutil
import signal
import subprocess
import time

import pytest
from conftest import program, until
from test_admin import Plane

DRIVER = """
source <({banyan} completion bash)
COMP_LINE=$1 COMP_POINT=${{#1}}
compopt() {{ echo "opt:$2"; }}  # there is no completion for it to change
read -r -a COMP_WORDS <<<"$1"
COMP_WORDS[0]={banyan}
"$(complete -p banyan | sed 's/.*-F \\([^ ]*\\).*/\\1/')"
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def bash(line, proxy=None, cwd=None):
    """What bash would offer."""
    env = {**os.environ, "BANYAN_PROXY": str(proxy or "/nonexistent")}
    argv = ["bash", "--norc", "-c", DRIVER.format(banyan=program("banyan")), "bash", line]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, env=env, cwd=cwd)
    assert done.returncode == 0 and not done.stderr, done
    return [word for word in done.stdout.splitlines() if word]


@pytest.fixture(scope="module")
def plane(start_for_module):
    return Plane(start_for_module)


def test_verbs_need_no_proxy():
    words = bash("banyan ")
    assert {"serve", "top", "completion", "show", "drain", "kill-client"} <= set(words)
    assert len(words) == len(set(words))
    assert bash("banyan dr") == ["drain"]
    assert bash("banyan show back") == ["backends"]
    assert bash("banyan --json show st") == ["stats", "state"]
    assert bash("banyan remove x f") == ["force"]
    assert bash("banyan health x ") == ["auto", "up", "down"]
    assert bash("banyan log level w") == ["warning"]
    assert bash("banyan drain ") == []
    assert bash("banyan help lo") == ["log"]
    assert bash("banyan help log ") == ["level", "reopen"]
    assert bash("banyan --ti") == ["--timeout"]
    assert bash("banyan show pools --j") == ["--json"]
    assert bash("banyan completion ") == ["bash", "zsh"]
    assert {"add", "remove"} < set(bash("banyan keys "))
    assert bash("banyan keys add list ") == ["proxy", "app", "viewer", "operator", "admin"]
    assert set(bash("banyan --pro")) == {"--proxy", "--proxy-key"}
    assert "--workers" in bash("banyan serve --wor")
    assert "--interval" in bash("banyan top --")


def test_every_verb_of_the_proxy_is_offered(plane):
    """The proxy's own words for it are the table's."""
    for verb in plane.done("--json", "help").json["verbs"]:
        first, *rest = verb["verb"].split()
        assert first in bash("banyan "), verb
        if rest:
            assert rest == [w for w in bash(f"banyan {first} ") if w == rest[0]], verb


def test_names_are_asked_of_the_proxy(plane):
    assert bash("banyan drain ", plane.control) == ["default/a", "default/b"]
    assert bash("banyan drain default/b", plane.control) == ["default/b"]
    assert bash(f"banyan --proxy {plane.control} drain ") == ["default/a", "default/b"]
    assert bash(f"banyan --proxy={plane.control} kill ") == ["default/a", "default/b"]
    assert bash("banyan resume ", plane.control) == ["default"]
    assert bash("banyan show config max-q", plane.control) == ["max-queue"]
    changeable = [
        c["key"]
        for c in plane.done("--json", "show", "config").json["config"]
        if c["changeable"] == "yes"
    ]
    offered = bash("banyan set ", plane.control)
    assert [w for w in offered if not w.startswith("opt:")] == [f"{k}=" for k in changeable]
    assert "opt:nospace" in offered
    assert bash("banyan pause max-pa", plane.control)[-1] == "max-pause="
    assert bash("banyan pause max-pause=", plane.control) == []


def test_files_are_offered(tmp_path):
    for name in ("one.yaml", "one more.yaml"):
        (tmp_path / name).write_text("")
    offered = bash("banyan check one", cwd=tmp_path)
    assert sorted(offered) == ["one more.yaml", "one.yaml", "opt:filenames"]
    assert "one.yaml" in bash("banyan --proxy o", cwd=tmp_path)


def test_a_proxy_that_hangs_is_not_waited_for(plane, start):
    other = Plane(start, backends=("a",), threads=1)
    other.proxy.signal(signal.SIGSTOP)
    begun = time.monotonic()
    assert bash("banyan drain ", other.control) == []
    assert time.monotonic() - begun < 10
    other.proxy.signal(signal.SIGCONT)


class Shell:
    """An interactive one on a terminal of its own."""

    def __init__(self, *argv, env):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ.update(env, TERM="dumb", PS1="$ ", LC_ALL="C.UTF-8")
            os.execvp(argv[0], argv)
        self.heard = ""

    def type(self, text):
        os.write(self.fd, text.encode())

    def until(self, pattern):
        def is_there():
            while select.select([self.fd], [], [], 0)[0]:
                self.heard += os.read(self.fd, 65536).decode(errors="replace")
            return re.search(pattern, self.heard)

        try:
            until(is_there, repr(pattern))
        except AssertionError:
            raise AssertionError(f"{pattern!r} is not in {self.heard!r}") from None
        self.heard = ""

    def close(self):
        os.kill(self.pid, 9)
        os.waitpid(self.pid, 0)
        os.close(self.fd)


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_tab_in_a_real_shell(plane, shell, tmp_path):
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    folder = os.path.dirname(program("banyan"))
    env = {"PATH": f"{folder}:{os.environ['PATH']}", "BANYAN_PROXY": plane.control}
    env |= {"HOME": str(tmp_path), "ZDOTDIR": str(tmp_path)}
    argv = {"bash": ["bash", "--norc", "--noprofile"], "zsh": ["zsh", "-f"]}[shell]
    s = Shell(*argv, env=env)
    try:
        if shell == "zsh":
            s.type("autoload -U compinit && compinit -u && PS1='$ '\n")
        s.type(f"source <(banyan completion {shell}); echo re''ady\n")
        s.until("ready")
        s.type("banyan dra\t")
        s.until(r"in ")
        s.type("default/b\t")
        s.until(r"default/b *\x07? ")
        s.type("wa\t")
        s.until(r"it")
        s.type("\n")
        until(lambda: plane.backend("b")["state"] == "drain", "the line was followed")
        plane.done("ready", "b")
        s.type("banyan set --eph\tmax-que\t777\n")
        show = ("--json", "show", "config", "max-queue")
        until(lambda: plane.done(*show).json["config"][0]["value"] == "777", "max-queue is 777")
    finally:
        s.close()
        plane.done("ready", "b")


def test_zsh_takes_the_script_as_a_function(tmp_path):
    """As it is installed: a file of a directory in fpath."""
    if shutil.which("zsh") is None:
        pytest.skip("zsh is not installed")
    script = subprocess.check_output([program("banyan"), "completion", "zsh"], text=True)
    assert script.startswith("#compdef banyan\n")
    (tmp_path / "_banyan").write_text(script)
    line = f"fpath=({tmp_path} $fpath); autoload -U compinit; compinit -D -u; print $_comps[banyan]"
    done = subprocess.run(["zsh", "-f", "-c", line], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("_banyan\n", "")
