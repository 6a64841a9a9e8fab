# SPDX-License-Identifier: MIT
"""deploy/systemd: units that systemd understands, that say what the programs understand, and
that give up what these do not need."""

import configparser
import pathlib
import re
import shlex
import shutil
import subprocess

import pytest
from conftest import ROOT, program

UNITS = ROOT / "deploy" / "systemd"
SERVICES = ["banyan-proxy.service", "banyan-app@shop.service", "banyan@shop.service"]
MOST_EXPOSED = 2.0  # systemd's scale: 0 is least, below 2.5 is "OK"


@pytest.fixture(scope="module")
def analyze():
    path = shutil.which("systemd-analyze")
    if path is None:
        pytest.skip("systemd-analyze is not installed (package systemd)")

    def run(*words):
        argv = [path, "--no-pager", *map(str, words)]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
        return done.returncode, done.stdout + done.stderr

    return run


@pytest.fixture(scope="module")
def units(tmp_path_factory):
    """As they are installed, with the programs where they were built."""
    folder = tmp_path_factory.mktemp("units")
    bindir = str(pathlib.Path(program("banyan-proxy")).parent)
    for path in UNITS.iterdir():
        name = path.name.removesuffix(".in").replace("@.", "@shop.")
        (folder / name).write_text(path.read_text().replace("@BINDIR@", bindir))
    return folder


def test_systemd_understands_them(analyze, units):
    names = [*SERVICES, "banyan-proxy.socket"]
    code, said = analyze("verify", "--man=no", *[units / n for n in names])
    if "Failed to initialize manager" in said or "Operation not permitted" in said:
        pytest.skip(f"systemd-analyze verify cannot run here: {said}")
    # About units of the machine it may say what it likes.
    assert not [line for line in said.splitlines() if "banyan" in line], said
    assert code == 0, said


@pytest.mark.parametrize("name", SERVICES)
def test_they_are_hardly_exposed(analyze, units, name):
    code, said = analyze("security", "--offline=yes", "--threshold=20", units / name)
    if "nrecognized option" in said:
        pytest.skip("this systemd-analyze knows no --offline")
    level = re.search(r"Overall exposure level for \S+: ([0-9.]+)", said)
    assert level and float(level.group(1)) <= MOST_EXPOSED, said
    assert code == 0


def read(path):
    """{key: last value} of [Service]; keys may repeat."""
    unit = configparser.RawConfigParser(strict=False, delimiters="=", comment_prefixes="#")
    unit.optionxform = str
    unit.read_string(path.read_text().replace("\\\n", " "))
    return dict(unit["Service"])


@pytest.mark.parametrize("name", SERVICES)
def test_they_say_what_the_programs_understand(units, name):
    service = read(units / name)
    argv = shlex.split(service["ExecStart"].replace("%i", "shop"))
    known = subprocess.run([*argv[: 2 if argv[1] == "serve" else 1], "--help"],
                           capture_output=True, text=True, timeout=60).stdout
    for word in argv:
        if word.startswith("--") and word != "--":
            assert f"{word} " in known, word
    assert service["Type"] == "notify"
    # An upgrade makes a main process that systemd has not started; "mixed" kills such a one at once.
    is_upgraded = name == "banyan-proxy.service"
    assert service["KillMode"] == ("control-group" if is_upgraded else "mixed")
    # Longer than what runs may take: --graceful-timeout.
    graceful = int(re.search(r"--graceful-timeout.*?default:? (\d+)", known, re.S).group(1))
    assert int(service["TimeoutStopSec"]) > graceful


def test_they_are_installed(units, tmp_path):
    build = pathlib.Path(program("banyan-proxy")).parents[1]
    if not (build / "deploy" / "cmake_install.cmake").exists():
        pytest.skip("the programs are not in a build tree")
    script = str(build / "deploy" / "cmake_install.cmake")
    subprocess.run(
        ["cmake", f"-DCMAKE_INSTALL_PREFIX={tmp_path}", "-P", script],
        check=True, capture_output=True, timeout=120,
    )
    installed = {p.name for p in (tmp_path / "lib" / "systemd" / "system").iterdir()}
    want = {"banyan-proxy.service", "banyan-proxy.socket", "banyan-app@.service"}
    assert installed == want | {"banyan@.service"}
    text = (tmp_path / "lib" / "systemd" / "system" / "banyan-proxy.service").read_text()
    assert "@BINDIR@" not in text and "/banyan-proxy --bind fd:http" in text
    assert (tmp_path / "lib" / "sysusers.d" / "banyan.conf").exists()
