# SPDX-License-Identifier: MIT
"""103 before 200."""


def application(environ, start_response):
    environ["wsgi.early_hints"]([("Link", "</style.css>; rel=preload")])
    start_response("200 OK", [])
    return [b"hinted"]
