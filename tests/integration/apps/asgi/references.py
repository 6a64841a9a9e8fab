# SPDX-License-Identifier: MIT
"""How many references there are, on a debug Python."""

import gc
import sys

from apps.asgi.reply import reply


async def application(scope, receive, send):
    gc.collect()
    await reply(send, sys.gettotalrefcount())
