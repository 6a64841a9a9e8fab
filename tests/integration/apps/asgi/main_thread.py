# SPDX-License-Identifier: MIT
"""What asyncio allows in the main thread only, and threads."""

import asyncio
import contextvars
import signal
import sys

from apps.asgi.reply import reply

VALUE = contextvars.ContextVar("value")


async def application(scope, receive, send):
    loop = asyncio.get_running_loop()
    VALUE.set("seen")
    came = asyncio.Event()
    loop.add_signal_handler(signal.SIGUSR2, came.set)
    signal.raise_signal(signal.SIGUSR2)
    await asyncio.wait_for(came.wait(), 10)
    loop.remove_signal_handler(signal.SIGUSR2)
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", "print(6 * 7)", stdout=pipe)
    printed, _ = await child.communicate()
    in_thread = await asyncio.to_thread(VALUE.get)
    await reply(send, [printed.strip(), in_thread])
