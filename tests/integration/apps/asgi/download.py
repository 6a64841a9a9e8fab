# SPDX-License-Identifier: MIT
"""Sends ?N MiB; /download/sent says how much was accepted so far."""

from apps.asgi.reply import reply

SENT = [0]


async def application(scope, receive, send):
    if scope["path"].endswith("/sent"):
        return await reply(send, SENT[0])
    SENT[0] = 0
    await send({"type": "http.response.start", "status": 200})
    for _ in range(int(scope["query_string"]) * 16):
        await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
        SENT[0] += 65536
    await send({"type": "http.response.body"})
