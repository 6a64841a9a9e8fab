# SPDX-License-Identifier: MIT
"""Says who it is (NAME) after so many seconds: /?0.01; or fails (FAILS)."""

import os
import time

NAME = os.environ["NAME"].encode()
FAILS = "FAILS" in os.environ


def application(environ, start_response):
    time.sleep(float(environ["QUERY_STRING"] or 0))
    start_response("500 Oops" if FAILS else "200 OK", [("Content-Type", "text/plain")])
    return [NAME]
