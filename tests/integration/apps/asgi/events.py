# SPDX-License-Identifier: MIT
"""Server-sent events: the second is made when /events/go was asked for."""

import asyncio

from apps.asgi.reply import reply

GATES = {}


async def application(scope, receive, send):
    gate = GATES.setdefault(scope["query_string"], asyncio.Event())
    if scope["path"].endswith("/go"):
        gate.set()
        return await reply(send, b"gone")
    headers = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
    await gate.wait()
    await send({"type": "http.response.body", "body": b"data: 2\n\n"})
