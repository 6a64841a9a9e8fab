# SPDX-License-Identifier: MIT
"""As many MiB as the query says, in pieces."""


def application(environ, start_response):
    start_response("200 OK", [])
    for _ in range(int(environ["QUERY_STRING"]) * 16):
        yield bytes(65536)
