# SPDX-License-Identifier: MIT
"""http.response.trailers; ?late sends a second piece of them."""


async def application(scope, receive, send):
    headers = [(b"trailer", b"x-sum, x-more")]
    start = {"type": "http.response.start", "status": 200, "headers": headers, "trailers": True}
    await send(start)
    await send({"type": "http.response.body", "body": b"summed"})
    more = scope["query_string"] == b"late"
    trailers = {"type": "http.response.trailers", "headers": [(b"x-sum", b"42")]}
    await send({**trailers, "more_trailers": more})
    if more:
        await send({**trailers, "headers": [(b"x-more", b"yes")]})
