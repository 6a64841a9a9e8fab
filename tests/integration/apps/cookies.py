# SPDX-License-Identifier: MIT
"""Several Set-Cookie, and fields that the server adds by itself otherwise."""


def application(environ, start_response):
    start_response(
        "200 OK",
        [
            ("Set-Cookie", "a=1; Path=/"),
            ("Set-Cookie", "b=2, or so"),
            ("Date", "Thu, 01 Jan 1970 00:00:00 GMT"),
            ("Server", "mine"),
        ],
    )
    return [b""]
