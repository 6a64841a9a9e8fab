# SPDX-License-Identifier: MIT
"""What applications that only want to tell something share."""


async def reply(send, value):
    body = value if isinstance(value, bytes) else repr(value).encode()
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": body})
