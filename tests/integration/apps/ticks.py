# SPDX-License-Identifier: MIT
"""A chunk, a pause, a chunk."""

import time


def application(environ, start_response):
    start_response("200 OK", [])
    yield b"tick"
    time.sleep(0.5)
    yield b"tock"
