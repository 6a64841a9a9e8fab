# SPDX-License-Identifier: MIT
"""Logs before and after a wait, in a task, then fails with ?raise."""

import asyncio
import logging

from apps.asgi.reply import reply

LOG = logging.getLogger("demo")


async def application(scope, receive, send):
    LOG.warning("warned before")
    await asyncio.sleep(0.01)
    await asyncio.create_task(later())
    if scope["query_string"] == b"raise":
        raise ValueError("caf\xe9 exploded")
    await reply(send, b"logged")


async def later():
    LOG.warning("warned in a task")
