# SPDX-License-Identifier: MIT
"""Status and headers as the query says, percent-encoded: status|name|value."""

from urllib.parse import unquote


def application(environ, start_response):
    status, name, value = unquote(environ["QUERY_STRING"]).split("|")
    start_response(status, [(name, value)] if name else [])
    return [b"accepted"]
