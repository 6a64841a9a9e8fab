# SPDX-License-Identifier: MIT
"""The process; its memory grows by so many MiB and it sleeps so many seconds: ?1&0.5"""

import os
import time

kept = []


def application(environ, start_response):
    size, _, seconds = environ["QUERY_STRING"].partition("&")
    kept.append(b"x" * (int(size or 0) << 20))
    time.sleep(float(seconds or 0))
    start_response("200 OK", [])
    return [str(os.getpid()).encode()]
