# SPDX-License-Identifier: MIT
"""Messages of 64 KiB in one direction: sends ?N of them, or waits for /ws_flow/go and then reads;
/ws_flow/seen says how many went."""

import asyncio

from apps.asgi.reply import reply

SEEN = [0]
GO = asyncio.Event()


async def application(scope, receive, send):
    if scope["type"] == "http":
        if scope["path"].endswith("/go"):
            GO.set()
        return await reply(send, SEEN[0])
    SEEN[0] = 0
    await receive()
    await send({"type": "websocket.accept"})
    for _ in range(int(scope["query_string"] or 0)):
        await send({"type": "websocket.send", "bytes": b"x" * 65536})
        SEEN[0] += 1
    if not scope["query_string"]:
        GO.clear()
        await GO.wait()
        while (await receive())["type"] == "websocket.receive":
            SEEN[0] += 1
