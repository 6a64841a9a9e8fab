"""Says its name; /slow waits for a moment first."""

import os
import time


def app(environ, start_response):
    if environ["PATH_INFO"].endswith("/slow"):
        time.sleep(float(environ["QUERY_STRING"] or 1))
    body = os.environ["APP_NAME"].encode()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body]
