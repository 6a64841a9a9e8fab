# SPDX-License-Identifier: MIT
"""What the tests of ASGI share: a site that runs apps/asgi/dispatch.py, and how to talk to it."""

import ast
import asyncio
import itertools
from urllib.parse import quote

import websockets
from conftest import HERE, Connection, until
from ws_talk import WebSocket

# Ways to host Python, and its event loops.
HOSTS = [("--loop", "asyncio"), ("--loop", "uvloop"), ("--embedded",)]
keys = itertools.count()


class AsgiSite:
    """A Site with one process of apps/asgi/dispatch.py."""

    def __init__(self, site_of, *options, application="apps.asgi.dispatch"):
        if not {"-w", "--workers"} & set(options):
            options = ("--workers", "1", *options)
        self.site = site_of(application, "--chdir", str(HERE), *options)
        self.address, self.url = self.site.address, self.site.url
        self.process = self.site.process
        self.log, self.wait_log = self.site.log, self.site.wait_log

    def connect(self, **more):
        return Connection(self.address, **more)

    def get(self, target, method="GET", fields=(), body=None):
        with self.connect() as connection:
            return connection.ask(method, target, fields, body)

    def value(self, target, **more):
        """What an application that answers with a literal said."""
        answer = self.get(target, **more)
        assert answer.status == 200, answer
        return ast.literal_eval(answer.body.decode())

    def socket(self, target="/ws_echo", fields=(), protocols=(), **more):
        return WebSocket(self.address, target, fields, protocols, **more)

    def notes(self, key):
        return self.value(f"/script/notes/{key}")

    def ended(self, key):
        """What the script noted, once it has ended."""
        return until(lambda: [n for n in [self.notes(key)] if n[-1:] == ["end"]], f"the end of {key}")[0]


def script(*steps):
    """(target, key) of a request that makes apps/asgi/script.py take these steps."""
    key = f"s{next(keys)}"
    return f"/script/{key}?{quote(repr(list(steps)))}", key


def start(status=200, headers=(), **more):
    return {"type": "http.response.start", "status": status, "headers": list(headers), **more}


def body(data=b"", more_body=False):
    return {"type": "http.response.body", "body": data, "more_body": more_body}


def length(size):
    return (b"content-length", b"%d" % size)


def values(answer, name):
    return [value for key, value in answer.fields if key.lower() == name.lower()]


def talk(url, conversation, **options):
    """What conversation(ws) returns, with a client of the `websockets` library."""

    async def session():
        async with websockets.connect(url.replace("http:", "ws:"), **options) as ws:
            return await conversation(ws)

    return asyncio.run(asyncio.wait_for(session(), 30))


def refusal_of(url, **options):
    """The status with which a handshake is refused."""
    try:
        talk(url, asyncio.sleep, **options)
    except websockets.InvalidHandshake as error:
        # The library's older and its newer client say it differently.
        return error.status_code if hasattr(error, "status_code") else error.response.status_code
    raise AssertionError("accepted")
