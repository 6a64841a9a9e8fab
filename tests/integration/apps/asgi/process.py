# SPDX-License-Identifier: MIT
"""Where it runs."""

import asyncio
import os
import sys
import threading

from apps.asgi.reply import reply


async def application(scope, receive, send):
    is_main = threading.current_thread() is threading.main_thread()
    loop = type(asyncio.get_running_loop()).__module__.split(".")[0]
    await reply(send, {"pid": os.getpid(), "main": is_main, "loop": loop, "argv": sys.argv})
