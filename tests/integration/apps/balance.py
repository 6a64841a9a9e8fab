# SPDX-License-Identifier: MIT
"""Says who it is (NAME) after so many seconds: /?0.01; or fails (FAILS). /?health is fine
unless there is a file SICK."""

import os
import time

NAME = os.environ["NAME"].encode()
FAILS = "FAILS" in os.environ


def application(environ, start_response):
    query = environ["QUERY_STRING"]
    if query == "health":
        is_sick = os.path.exists(os.environ.get("SICK", ""))
        start_response("503 Sick" if is_sick else "204 Fine", [])
        return []
    time.sleep(float(query or 0))
    start_response("500 Oops" if FAILS else "200 OK", [("Content-Type", "text/plain")])
    return [NAME]
