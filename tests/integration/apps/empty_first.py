# SPDX-License-Identifier: MIT
"""An empty chunk, then a change of mind."""

import sys


def application(environ, start_response):
    start_response("200 OK", [])
    yield b""
    try:
        raise ValueError
    except ValueError:
        start_response("503 Changed", [], sys.exc_info())
    yield b"changed"
