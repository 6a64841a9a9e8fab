# SPDX-License-Identifier: MIT
"""Headers of types that PEP 3333 forbids."""

KINDS = {
    "bytes": [("X-A", b"b")],
    "int": [("X-A", 1)],
    "euro": [("X-A", "\u20ac")],
    "euro-name": [("X-\u20ac", "a")],
    "triple": [("a", "b", "c")],
}


def application(environ, start_response):
    start_response("200 OK", KINDS[environ["QUERY_STRING"]])
    return [b"accepted"]
