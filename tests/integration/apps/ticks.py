# SPDX-License-Identifier: MIT
"""A chunk, a pause, a chunk."""

import time


def application(environ, start_response):
    start_response("200 OK", [])
    yield b"tick"
    time.sleep(1)
    yield b"tock"
