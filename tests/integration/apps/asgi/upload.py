# SPDX-License-Identifier: MIT
"""Counts a body; /upload/seen says how much came so far, ?pause waits before it reads."""

import asyncio
import hashlib

from apps.asgi.reply import reply

SEEN = {}
GO = asyncio.Event()


async def application(scope, receive, send):
    if scope["path"].endswith("/seen"):
        return await reply(send, SEEN)
    if scope["path"].endswith("/go"):
        GO.set()
        return await reply(send, b"gone")
    SEEN.update(bytes=0, pieces=0, largest=0, left=False)
    if scope["query_string"] == b"pause":
        GO.clear()
        await GO.wait()
    digest, more = hashlib.sha256(), True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            SEEN["left"] = True
            return
        piece, more = message["body"], message["more_body"]
        SEEN["pieces"] += 1
        SEEN["bytes"] += len(piece)
        SEEN["largest"] = max(SEEN["largest"], len(piece))
        digest.update(piece)
    await reply(send, f"{SEEN['bytes']} {digest.hexdigest()}".encode())
