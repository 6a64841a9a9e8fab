# SPDX-License-Identifier: MIT
"""Text for wsgi.errors, logging, and an exception, as the query says."""

import logging


def application(environ, start_response):
    errors = environ["wsgi.errors"]
    if environ["QUERY_STRING"] == "raise":
        raise ValueError("caf\xe9 exploded")
    errors.write("one ")
    errors.writelines(["line\n", "second line\n", "rest"])
    errors.flush()
    print("printed", file=errors)
    logging.getLogger("demo").warning("warned about %s", "it")
    logging.getLogger("demo").info("not shown")
    try:
        errors.write(b"bytes")
    except TypeError:
        start_response("200 OK", [])
        return [environ["banyan.request_id"].encode()]
