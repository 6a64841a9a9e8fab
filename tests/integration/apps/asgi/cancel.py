# SPDX-License-Identifier: MIT
"""Waits for ever, in ?where; /cancel/seen says how that ended."""

import asyncio

from apps.asgi.reply import reply

SEEN = []


async def application(scope, receive, send):
    where = scope["query_string"].decode()
    if scope["path"].endswith("/seen"):
        return await reply(send, SEEN)
    try:
        await receive()
        if where == "receive":
            await receive()
        await asyncio.sleep(1000)
        SEEN.append([where, "went on"])
    except asyncio.CancelledError:
        SEEN.append([where, "cancelled"])
        raise
    finally:
        await asyncio.sleep(0)
        SEEN.append([where, "finally"])
