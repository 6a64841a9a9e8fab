# SPDX-License-Identifier: MIT
"""A second start_response, as the query says: plain, exc_info before or after the head."""

import sys


def application(environ, start_response):
    how = environ["QUERY_STRING"]
    start_response("200 OK", [("X-First", "1")])
    if how == "plain":
        try:
            start_response("200 OK", [])
        except Exception as error:
            yield type(error).__name__.encode()
        return
    if how == "after":
        yield b"sent "
    try:
        raise KeyError("mine")
    except KeyError:
        try:
            start_response("500 Oops", [("X-Second", "2")], sys.exc_info())
        except KeyError as error:
            yield repr(error).encode()
            return
    yield b"replaced"
