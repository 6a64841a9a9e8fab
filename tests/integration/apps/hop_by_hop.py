# SPDX-License-Identifier: MIT
"""Fields that are the server's."""


def application(environ, start_response):
    fields = [("Connection", "close"), ("Transfer-Encoding", "chunked"), ("X-A", "b")]
    start_response("200 OK", [*fields, ("Content-Length", "4")])
    return [b"body"]
