# SPDX-License-Identifier: MIT
"""What the application sees of its process: ?env=NAME, ?cwd, ?argv, ?stdin, ?pid."""

import os
import sys


def application(environ, start_response):
    word, _, name = environ["QUERY_STRING"].partition("=")
    answers = {
        "env": lambda: os.environ.get(name, ""),
        "cwd": os.getcwd,
        "argv": lambda: repr(sys.argv),
        "stdin": lambda: repr(sys.stdin.read()),
        "pid": lambda: str(os.getpid()),
        "version": lambda: sys.version,
        "executable": lambda: sys.executable,
    }
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [answers[word]().encode()]
