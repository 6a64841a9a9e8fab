# SPDX-License-Identifier: MIT
"""Raises what the query names, from where it says."""

KINDS = {"exit": SystemExit(3), "interrupt": KeyboardInterrupt(), "base": BaseException()}


def body(error):
    yield b""
    raise error


def application(environ, start_response):
    kind, _, where = environ["QUERY_STRING"].partition("&")
    if where == "call":
        raise KINDS[kind]
    start_response("200 OK", [])
    return body(KINDS[kind])
