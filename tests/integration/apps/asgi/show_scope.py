# SPDX-License-Identifier: MIT
"""The scope, as text."""

from apps.asgi.reply import reply


async def application(scope, receive, send):
    shown = repr({key: value for key, value in scope.items() if key != "app"})
    if scope["type"] == "http":
        await reply(send, shown.encode())
    else:
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": shown})
        await receive()
