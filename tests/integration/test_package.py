# SPDX-License-Identifier: MIT
"""The package `banyan` in an interpreter that it was not built for."""

import pathlib
import shutil
import subprocess

from conftest import ROOT

SOURCES = ROOT / "appserver" / "pkg" / "src" / "banyan"
PYTHON = "/usr/bin/python3"


def run(folder):
    return subprocess.run(
        [PYTHON, "-P", "-m", "banyan", "--version"],
        env={"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=20,
    )


def copy(folder, *extensions):
    shutil.copytree(SOURCES, folder / "banyan", ignore=lambda *_: ["__pycache__"])
    for name in extensions:
        pathlib.Path(folder, "banyan", name).write_bytes(b"not an ELF file")


def test_another_version_is_named_with_the_remedies(tmp_path):
    copy(tmp_path, "_core.cpython-399-x86_64-linux-gnu.so")
    result = run(tmp_path)
    assert result.returncode == 1
    for text in ("built for CPython 3.99", "is CPython 3.", "--python", "--embedded"):
        assert text in result.stderr, result.stderr
    assert "Traceback" not in result.stderr


def test_an_incomplete_build_is_said(tmp_path):
    copy(tmp_path)
    result = run(tmp_path)
    assert result.returncode == 1 and "incomplete" in result.stderr


def test_what_the_application_may_use_imports_without_the_extension(tmp_path):
    copy(tmp_path)
    code = "import banyan; print(issubclass(banyan.ClientDisconnected, OSError))"
    result = subprocess.run(
        [PYTHON, "-c", code],
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert result.stdout == "True\n"
