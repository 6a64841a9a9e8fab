# SPDX-License-Identifier: MIT
"""What a program sees that the application starts: PYTHONPATH and signals."""

import subprocess

SHOW = "echo PYTHONPATH=$PYTHONPATH; grep -E ^Sig[BI] /proc/self/status"


def application(environ, start_response):
    start_response("200 OK", [])
    return [subprocess.check_output(["sh", "-c", SHOW])]
