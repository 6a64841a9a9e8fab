# SPDX-License-Identifier: MIT
"""Reads everything in pieces; what became of the last upload is told to the next GET."""

outcome = "none"


def application(environ, start_response):
    global outcome
    if environ["REQUEST_METHOD"] == "GET":
        start_response("200 OK", [])
        return [outcome.encode()]
    outcome, count = "reading", 0
    try:
        while piece := environ["wsgi.input"].read(65536):
            count += len(piece)
        outcome = f"read {count}"
    except OSError as error:
        outcome = f"{type(error).__name__} after {count}"
    start_response("200 OK", [])
    return [outcome.encode()]
