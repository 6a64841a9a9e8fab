# SPDX-License-Identifier: MIT
"""Runs the reads that the query names, e.g. ?read,3;readline;list and shows the results."""


def application(environ, start_response):
    stream, results = environ["wsgi.input"], []
    for step in filter(None, environ["QUERY_STRING"].split(";")):
        method, *sizes = step.split(",")
        if method == "list":
            results.append(list(stream))
        else:
            results.append(getattr(stream, method)(*map(int, sizes)))
    start_response("200 OK", [])
    return [repr(results).encode()]
