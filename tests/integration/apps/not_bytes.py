# SPDX-License-Identifier: MIT
"""Chunks that are not bytes."""

KINDS = {"str": ["text"], "int": [1], "none": [None], "late": iter([b"fine", "text"])}


def application(environ, start_response):
    start_response("200 OK", [])
    return KINDS[environ["QUERY_STRING"]]
