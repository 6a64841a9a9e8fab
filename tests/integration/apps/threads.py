# SPDX-License-Identifier: MIT
"""Call, iteration and close() on one OS thread; thread-locals survive."""

import threading

local = threading.local()


class Body:
    def __init__(self):
        self.seen = [threading.get_native_id()]

    def __iter__(self):
        self.seen.append(threading.get_native_id())
        local.count = getattr(local, "count", 0) + 1
        yield f"{self.seen} {threading.current_thread().name} {local.count} {last}".encode()

    def close(self):
        global last
        last = len({*self.seen, threading.get_native_id()})


last = 0


def application(environ, start_response):
    start_response("200 OK", [])
    return Body()
