# SPDX-License-Identifier: MIT
"""Headers as a generator, tuples, lists."""

PAIRS = [(b"X-One", b"1"), (b"x-two", b"2"), (b"x-one", b"3")]
KINDS = {
    b"generator": lambda: (pair for pair in PAIRS),
    b"tuple": lambda: tuple(PAIRS),
    b"lists": lambda: [list(pair) for pair in PAIRS],
    b"iterator": lambda: iter(PAIRS),
    b"dict_items": lambda: dict(PAIRS).items(),
}


async def application(scope, receive, send):
    headers = KINDS[scope["query_string"]]()
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"ok"})
