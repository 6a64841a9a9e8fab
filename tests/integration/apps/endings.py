# SPDX-License-Identifier: MIT
"""Leaves things to do for the end of the process."""

import atexit
import sys
import threading
import time

atexit.register(print, "atexit ran", file=sys.stderr)
print("imported", end="")
stopping = threading.Event()
threading._register_atexit(stopping.set)


def linger():
    stopping.wait()
    time.sleep(0.2)
    print("thread ended", file=sys.stderr)


threading.Thread(target=linger).start()


def application(environ, start_response):
    if environ["QUERY_STRING"]:
        print("a request runs", file=sys.stderr)
        time.sleep(float(environ["QUERY_STRING"]))
    start_response("200 OK", [])
    return [b"ok"]
