# SPDX-License-Identifier: MIT
"""write() before the iterable."""


def application(environ, start_response):
    write = start_response("200 OK", [])
    write(b"one ")
    write(b"two ")
    return [b"three"]
