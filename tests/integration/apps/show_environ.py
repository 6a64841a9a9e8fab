# SPDX-License-Identifier: MIT
"""The environ as JSON: key -> [type of the value, its repr]."""

import json


def application(environ, start_response):
    shown = {k: [type(v).__name__, repr(v)] for k, v in environ.items()}
    shown["type(environ)"] = [type(environ).__name__, str("leak" in environ)]
    environ["leak"] = 1
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(shown).encode()]
