# SPDX-License-Identifier: MIT
"""Answers after ?SECONDS; with ?SECONDS&stuck it computes instead of waiting."""

import asyncio
import time

from apps.asgi.reply import reply


async def application(scope, receive, send):
    seconds, _, how = scope["query_string"].decode().partition("&")
    if how == "stuck":
        time.sleep(float(seconds))
    else:
        await asyncio.sleep(float(seconds))
    await reply(send, b"done")
