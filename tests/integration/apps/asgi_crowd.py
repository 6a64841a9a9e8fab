# SPDX-License-Identifier: MIT
"""The application of test_asgi_faults.py: events and WebSockets that stay open, and who serves."""

import os

from apps.asgi.reply import reply

OPEN = {"events": 0, "sockets": 0}


async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
    elif scope["type"] == "websocket":
        await websocket(receive, send)
    elif scope["path"] == "/events":
        await events(receive, send)
    else:
        await reply(send, {"pid": os.getpid(), **OPEN})


async def websocket(receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "text": f"{os.getpid()}"})
    OPEN["sockets"] += 1
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})
    OPEN["sockets"] -= 1


async def events(receive, send):
    headers = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    OPEN["events"] += 1
    try:
        await send({"type": "http.response.body", "body": b"%d\n" % os.getpid(), "more_body": True})
        await receive()
        while (await receive())["type"] != "http.disconnect":
            pass
    finally:
        OPEN["events"] -= 1
