# SPDX-License-Identifier: MIT
"""Starts a program and a forked process, ends both with SIGTERM, and tells how they ended: at the
import, at the startup of an ASGI application, in a request."""

import multiprocessing
import os
import subprocess
import time

fork = multiprocessing.get_context("fork")


def ends():
    program = subprocess.Popen(["sleep", "60"])
    forked = fork.Process(target=time.sleep, args=(60,))
    forked.start()
    for child in (program, forked):
        child.terminate()
    try:
        program.wait(5)
        forked.join(5)
        return [program.returncode, forked.exitcode]
    finally:
        for child in (program, forked):
            child.kill()


seen = [ends()]


def wsgi(environ, start_response):
    start_response("200 OK", [])
    return [repr([os.getpid(), *seen, ends()]).encode()]


async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        seen.append(ends())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        return await send({"type": "lifespan.shutdown.complete"})
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": repr([os.getpid(), *seen, ends()]).encode()})
