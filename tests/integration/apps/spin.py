# SPDX-License-Identifier: MIT
"""Runs for as long as the query says, in Python (spin) or in C (sleep)."""

import time


def application(environ, start_response):
    how, _, seconds = environ["QUERY_STRING"].partition("&")
    environ["wsgi.errors"].write(f"runs for {seconds} s\n")
    until = time.monotonic() + float(seconds)
    if how == "sleep":
        time.sleep(float(seconds))
    while time.monotonic() < until:
        pass
    start_response("200 OK", [])
    return [b"done"]
