# SPDX-License-Identifier: MIT
"""An answer from the query: status|content-length or empty|chunks joined by commas|list or
stream."""

from urllib.parse import unquote


def application(environ, start_response):
    status, length, chunks, form = unquote(environ["QUERY_STRING"]).split("|")
    parts = [chunk.encode() for chunk in chunks.split(",")] if chunks else []
    start_response(status, [("Content-Length", length)] if length else [])
    return parts if form == "list" else iter(parts)
