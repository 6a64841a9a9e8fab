# SPDX-License-Identifier: MIT
"""Says how long its request waited, after so many seconds: /?0.2."""

import time


def application(environ, start_response):
    waited = environ["banyan.queue_time"]
    started = float(environ["HTTP_X_REQUEST_START"][2:]) / 1e6
    # The two say the same: one from the proxy's clock, one from the day's.
    assert abs(time.time() - started - waited) < 2, (time.time(), started, waited)
    time.sleep(float(environ["QUERY_STRING"] or 0))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(waited).encode()]
