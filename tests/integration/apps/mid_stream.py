# SPDX-License-Identifier: MIT
"""Fails behind its first chunk."""


def application(environ, start_response):
    start_response("200 OK", [])
    yield b"first"
    raise RuntimeError("mid-stream")
