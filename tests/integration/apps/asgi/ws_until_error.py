# SPDX-License-Identifier: MIT
"""Sends messages until that fails; /ws_until_error/seen says with what, and what receive() gives
then."""

from apps.asgi.reply import reply

SEEN = []


async def application(scope, receive, send):
    if scope["type"] == "http":
        return await reply(send, list(SEEN))
    SEEN.clear()
    await receive()
    await send({"type": "websocket.accept"})
    try:
        while True:
            await send({"type": "websocket.send", "bytes": b"x" * 65536})
    except OSError as error:
        SEEN.append(isinstance(error, OSError))
    SEEN.append(await receive())
