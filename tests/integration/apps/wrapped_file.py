# SPDX-License-Identifier: MIT
"""wsgi.file_wrapper around what the query names; close() is told by /wrapped_file/closed."""

import gzip
import io
import os
import tempfile

closed = []


class Closing:
    def __init__(self, data):
        self.stream = io.BytesIO(data)
        self.read = self.stream.read

    def close(self):
        closed.append(True)


def make(kind):
    file = tempfile.NamedTemporaryFile()
    file.write(b"0123456789" * (20000 if kind == "large" else 1))
    file.flush()
    file.seek(3)
    if kind == "buffered":
        other = open(file.name, "rb")
        other.read(4)
        return other
    if kind == "raw":
        return os.fdopen(os.open(file.name, os.O_RDONLY), "rb", buffering=0)
    if kind == "gzip":
        with open(file.name, "wb") as packed:
            packed.write(gzip.compress(b"unpacked"))
        return gzip.open(file.name)
    return file


def application(environ, start_response):
    kind, _, length = environ["QUERY_STRING"].partition("&")
    if environ["PATH_INFO"].endswith("/closed"):
        start_response("200 OK", [])
        return [str(len(closed)).encode()]
    start_response("200 OK", [("Content-Length", length)] if length else [])
    file = Closing(b"not a file") if kind == "object" else make(kind)
    if kind == "iterate":
        return iter(list(environ["wsgi.file_wrapper"](file, 4)))
    return environ["wsgi.file_wrapper"](file, 4096)
