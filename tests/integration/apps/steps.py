# SPDX-License-Identifier: MIT
"""Does what the query says step by step, e.g. ?sleep,0.1;read,3;head,10;send,5. `head`
tells a Content-Length; without `send` the body is what was read. `&` ends the steps."""

import time
from urllib.parse import unquote

PIECE = 65536


def application(environ, start_response):
    got, has_head, has_sent = b"", False, False
    query = unquote(environ["QUERY_STRING"]).partition("&")[0]
    for step in filter(None, query.split(";")):
        name, _, value = step.partition(",")
        if name == "sleep":
            time.sleep(float(value))
        elif name == "read":
            got += environ["wsgi.input"].read(*([int(value)] if value else []))
        elif name == "head":
            start_response("200 OK", [("Content-Length", value)])
            has_head = True
        elif name == "send":
            if not has_head:
                start_response("200 OK", [])
            has_head = has_sent = True
            for at in range(0, int(value), PIECE):
                yield b"x" * min(PIECE, int(value) - at)
    if not has_head:
        start_response("200 OK", [])
    if not has_sent:
        yield got
