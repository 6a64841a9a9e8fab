# SPDX-License-Identifier: MIT
"""The smallest web application: banyan serve --chdir deploy/examples/hello hello:app"""


def app(environ, start_response):
    body = f"Hello from Banyan! You asked for {environ['PATH_INFO']}\n".encode()
    start_response(
        "200 OK",
        [
            ("Content-Type", "text/plain; charset=utf-8"),
            ("Content-Length", str(len(body))),
        ],
    )
    return [body]
