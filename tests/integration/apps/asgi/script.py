# SPDX-License-Identifier: MIT
"""/script/KEY?STEPS, a Python list: a dict is sent, "receive" receives, "wait" receives for a
moment, "drain" receives to the disconnect, "raise" raises. /script/notes/KEY says what happened."""

import ast
import asyncio
from urllib.parse import unquote

from apps.asgi.reply import reply

NOTES = {}


async def application(scope, receive, send):
    key = scope["path"].split("/")[-1]
    if "/notes/" in scope["path"]:
        return await reply(send, NOTES.get(key, []))
    notes = NOTES[key] = []
    for step in ast.literal_eval(unquote(scope["query_string"].decode())):
        if step == "raise":
            raise RuntimeError(f"raised by {key}")
        try:
            notes.append(await take(step, receive, send, notes))
        except Exception as error:
            notes.append([kind.__name__ for kind in type(error).__mro__])
    notes.append("end")


async def take(step, receive, send, notes):
    if step == "receive":
        return await receive()
    if step == "wait":
        return await asyncio.wait_for(receive(), 0.2)
    if step == "drain":
        while not (message := await receive())["type"].endswith(".disconnect"):
            notes.append(message)
        return message
    await send(step)
    return "sent"
