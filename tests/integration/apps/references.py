# SPDX-License-Identifier: MIT
"""How many references there are, on a debug Python."""

import gc
import sys


def application(environ, start_response):
    gc.collect()
    start_response("200 OK", [])
    return [b"%d" % sys.gettotalrefcount()]
