# SPDX-License-Identifier: MIT
"""Shows and then changes the state that it got."""

from apps.asgi.reply import reply


async def application(scope, receive, send):
    before = repr(scope["state"])
    scope["state"]["number"] += 1
    scope["state"]["own"] = "mine"
    scope["state"]["shared"].append("x")
    await reply(send, before.encode())
