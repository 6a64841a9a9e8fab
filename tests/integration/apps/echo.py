# SPDX-License-Identifier: MIT
"""Answers each request with what it saw of it, as JSON. The method JOURNAL asks for all
that it saw since the last one, whether their bodies came to an end or not."""

import hashlib
import json
import re

HEADER = re.compile("HTTP_|CONTENT_")
journal = []


def record_of(environ):
    return {
        "method": environ["REQUEST_METHOD"],
        "target": environ["REQUEST_URI"],
        "path": environ["PATH_INFO"],
        "query": environ["QUERY_STRING"],
        "protocol": environ["SERVER_PROTOCOL"],
        "scheme": environ["wsgi.url_scheme"],
        "client": environ["REMOTE_ADDR"],
        "headers": {k: v for k, v in environ.items() if HEADER.match(k)},
        "complete": False,
    }


def application(environ, start_response):
    global journal
    if environ["REQUEST_METHOD"] == "JOURNAL":
        answer, journal = journal, []
    else:
        answer = record_of(environ)
        journal.append(answer)
        body = environ["wsgi.input"].read()
        answer["length"] = len(body)
        answer["digest"] = hashlib.sha256(body).hexdigest()
        answer["complete"] = True
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(answer).encode()]
