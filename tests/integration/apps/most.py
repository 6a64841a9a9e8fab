# SPDX-License-Identifier: MIT
"""Counts how many requests are inside at once, as a WSGI and as an ASGI application. "/seen"
tells and begins anew; it counts itself, as any other: `most` is what the core must keep."""

import asyncio
import json
import os
import threading
import time

PAUSE_S = float(os.environ.get("PAUSE_S", "0.0003"))


class Count:
    def __init__(self):
        self.lock = threading.Lock()
        self.inside = self.most = self.total = 0

    def __enter__(self):
        with self.lock:
            self.inside += 1
            self.total += 1
            self.most = max(self.most, self.inside)

    def __exit__(self, *_):
        with self.lock:
            self.inside -= 1

    def seen(self):
        with self.lock:
            told = {"most": self.most, "total": self.total, "pid": os.getpid()}
            self.most = self.total = 0
        return json.dumps(told).encode()


COUNT = Count()


def application(environ, start_response):
    with COUNT:
        is_question = environ["PATH_INFO"] == "/seen"
        body = COUNT.seen() if is_question else b"done"
        if not is_question:
            time.sleep(PAUSE_S)
        start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


async def asgi_application(scope, receive, send):
    assert scope["type"] == "http"
    with COUNT:
        is_question = scope["path"] == "/seen"
        body = COUNT.seen() if is_question else b"done"
        if not is_question:
            await asyncio.sleep(PAUSE_S)
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})
