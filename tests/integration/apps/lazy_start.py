# SPDX-License-Identifier: MIT
"""start_response is called when the first chunk is asked for."""


def application(environ, start_response):
    start_response("200 OK", [("X-Lazy", "yes")])
    yield b"lazy"
