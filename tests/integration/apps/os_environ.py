# SPDX-License-Identifier: MIT
"""Whether the process's environment and the request's are apart."""

import os


def application(environ, start_response):
    os.environ["HTTP_X_FROM_OS"] = "os"
    leaks = [name for name in os.environ if name in environ]
    changed = [name for name in os.environ if name.startswith(("wsgi.", "HTTP_USER"))]
    start_response("200 OK", [])
    return [repr((leaks, changed)).encode()]
