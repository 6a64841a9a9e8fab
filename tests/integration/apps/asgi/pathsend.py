# SPDX-License-Identifier: MIT
"""http.response.pathsend of the file that the query names."""

import os
from urllib.parse import unquote


async def application(scope, receive, send):
    path, _, size = unquote(scope["query_string"].decode()).partition("&")
    headers = []
    if size != "chunked":
        headers.append((b"content-length", b"%d" % (int(size or 0) or os.path.getsize(path))))
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.pathsend", "path": path})
