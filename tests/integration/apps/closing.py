# SPDX-License-Identifier: MIT
"""close() is counted; /closing/count tells. The query says how the iteration goes."""

import time

log = []


class Body:
    def __init__(self, how):
        self.how = how

    def __iter__(self):
        for number in range(1000):
            if self.how == "fail" and number == 2:
                raise ValueError("mid-stream")
            if self.how == "normal" and number == 3:
                return
            log.append("chunk")
            yield b"x" * 10000
            time.sleep(0.01)

    def close(self):
        log.append("close")


def application(environ, start_response):
    start_response("200 OK", [])
    if environ["PATH_INFO"].endswith("/count"):
        text = f"{log.count('close')} {log.count('chunk')}"
        log.clear()
        return [text.encode()]
    return Body(environ["QUERY_STRING"])
