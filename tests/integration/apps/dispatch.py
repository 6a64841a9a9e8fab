# SPDX-License-Identifier: MIT
"""/name/... runs apps/name.py: what it returns goes to the server as it is."""

import importlib


def application(environ, start_response):
    name = environ["PATH_INFO"].split("/")[1] or "hello"
    module = importlib.import_module(f"apps.{name}")
    return module.application(environ, start_response)
