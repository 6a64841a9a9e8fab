# SPDX-License-Identifier: MIT
"""Leaves by what is no Exception."""

import asyncio


class Base(BaseException):
    pass


KINDS = {
    b"exit": SystemExit,
    b"interrupt": KeyboardInterrupt,
    b"base": Base,
    b"cancelled": asyncio.CancelledError,
}


async def application(scope, receive, send):
    await asyncio.sleep(0)
    raise KINDS[scope["query_string"]]("left")
