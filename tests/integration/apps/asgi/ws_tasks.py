# SPDX-License-Identifier: MIT
"""One task receives while another sends, as Quart has it."""

import asyncio


async def application(scope, receive, send):
    queue = asyncio.Queue()

    async def reader():
        while (message := await receive())["type"] != "websocket.disconnect":
            await queue.put(message)
        await queue.put(None)

    async def writer():
        await queue.get()
        await send({"type": "websocket.accept"})
        while message := await queue.get():
            await send({"type": "websocket.send", "text": message["text"]})

    await asyncio.gather(reader(), writer())
