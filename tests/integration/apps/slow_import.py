"""Is imported in IMPORT_S seconds, under WSGI and ASGI, and says which process serves."""

import os
import time

time.sleep(float(os.environ["IMPORT_S"]))


def wsgi(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"%d" % os.getpid()]


async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        raise NotImplementedError
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"%d" % os.getpid()})
