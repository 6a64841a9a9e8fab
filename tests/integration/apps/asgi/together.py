# SPDX-License-Identifier: MIT
"""How many run at once: answers when ?N are here, or after a while, with the most there were."""

import asyncio

from apps.asgi.reply import reply

HERE = {"now": 0, "most": 0}


async def application(scope, receive, send):
    wanted, _, patience = scope["query_string"].decode().partition("&")
    HERE["now"] += 1
    HERE["most"] = max(HERE["most"], HERE["now"])
    for _ in range(int(float(patience or 10) * 100)):
        if HERE["most"] >= int(wanted):
            break
        await asyncio.sleep(0.01)
    HERE["now"] -= 1
    await reply(send, HERE["most"])
