# SPDX-License-Identifier: MIT
"""Writes what happens to it into the file JOURNAL, one line each; LIFESPAN says how it behaves, and the
file JOURNAL.fails that it cannot start; with a text, that it leaves a thread behind then."""

import asyncio
import itertools
import os
import pathlib
import threading
import time

from apps.asgi.reply import reply

HOW = os.environ.get("LIFESPAN", "good")


def note(line):
    with open(os.environ["JOURNAL"], "a", encoding="ascii") as f:
        print(line, file=f)


async def application(scope, receive, send):
    await {"lifespan": lifespan, "http": http, "websocket": websocket}[scope["type"]](scope, receive, send)


async def lifespan(scope, receive, send):
    if HOW == "raises":
        raise RuntimeError("no lifespan here")
    if HOW == "ignores":
        return
    message = await receive()
    note(f"{message['type']} {scope['asgi']['spec_version']} pid {os.getpid()}")
    broken = pathlib.Path(os.environ["JOURNAL"] + ".fails")
    if broken.exists() and broken.read_text():
        threading.Thread(target=time.sleep, args=(60,)).start()
    if HOW == "fails" or broken.exists():
        return await send({"type": "lifespan.startup.failed", "message": "the database is away"})
    if HOW == "exits":
        raise SystemExit("cannot go on")
    await asyncio.sleep(float(os.environ.get("STARTUP_S", 0.3)))
    scope["state"]["ready"] = True
    note("started")
    task = asyncio.create_task(tick()) if HOW == "ticks" else None
    await send({"type": "lifespan.startup.complete"})
    await receive()
    if task:
        task.cancel()
    await asyncio.sleep(0.2)
    note("shutdown")
    ended = {"type": "lifespan.shutdown.complete"}
    if HOW == "fails late":
        ended = {"type": "lifespan.shutdown.failed", "message": "could not flush"}
    await send(ended)


async def tick():
    """Stops the loop twice."""
    for count in itertools.count():
        note(f"tick {os.getpid()}")
        await asyncio.sleep(0.02)
        if count in (4, 8):
            asyncio.get_running_loop().stop()


async def http(scope, receive, send):
    note("request")
    await asyncio.sleep(float(scope["query_string"] or 0))
    await reply(send, sorted(scope.get("state", [])))
    note("answered")


async def websocket(scope, receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "text": "open"})
    while (message := await receive())["type"] != "websocket.disconnect":
        pass
    note(f"disconnect {message['code']}")
