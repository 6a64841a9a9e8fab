# SPDX-License-Identifier: MIT
"""Callables that are ASGI applications, each in its own way."""

import functools

from apps.asgi.dispatch import lifespan
from apps.asgi.hello import application as hello


async def run(name, scope, receive, send):
    if scope["type"] == "lifespan":
        return await lifespan(scope.get("state", {}), receive, send)
    await hello(scope, receive, send)


class Instance:
    async def __call__(self, scope, receive, send):
        await run("instance", scope, receive, send)

    async def method(self, scope, receive, send):
        await run("method", scope, receive, send)


class Asgi2:
    """The double callable of ASGI 2."""

    def __init__(self, scope):
        self.scope = scope

    async def __call__(self, receive, send):
        await run("asgi2", self.scope, receive, send)


def factory():
    return Instance()


def plain(scope, receive, send):
    """Returns an awaitable without being a coroutine function."""
    return run("plain", scope, receive, send)


instance = Instance()
bound = instance.method
partial = functools.partial(run, "partial")
