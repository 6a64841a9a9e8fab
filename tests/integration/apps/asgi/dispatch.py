# SPDX-License-Identifier: MIT
"""/name/... runs apps/asgi/name.py with what the server gave; the lifespan is here."""

import importlib


async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        return await lifespan(scope["state"], receive, send)
    name = scope["path"].split("/")[1] or "hello"
    module = importlib.import_module(f"apps.asgi.{name}")
    await module.application(scope, receive, send)


async def lifespan(state, receive, send):
    state.update(shared=[], number=1)
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})
