# SPDX-License-Identifier: MIT
"""http.response.early_hint, then the answer."""

from apps.asgi.reply import reply


async def application(scope, receive, send):
    links = [b"</style.css>; rel=preload; as=style", b"</app.js>; rel=preload"]
    await send({"type": "http.response.early_hint", "links": links})
    await reply(send, b"hinted")
