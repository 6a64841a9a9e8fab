# SPDX-License-Identifier: MIT
"""A context variable as it was before this request set it, across a wait."""

import asyncio
import contextvars

from apps.asgi.reply import reply

NAME = contextvars.ContextVar("name", default="fresh")


async def application(scope, receive, send):
    before = NAME.get()
    mine = scope["query_string"].decode()
    NAME.set(mine)
    await asyncio.sleep(0.05)
    await receive()
    child = await asyncio.create_task(read())
    await reply(send, [before, NAME.get() == mine, child == mine])


async def read():
    return NAME.get()
