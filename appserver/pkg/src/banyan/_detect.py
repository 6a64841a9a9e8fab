# SPDX-License-Identifier: MIT
"""Which interface an application speaks, from the look of it."""

import inspect
import sys


def detect(app):
    """Which interface a callable speaks: "wsgi", "asgi" or "asgi2"."""
    if inspect.isclass(app):
        if hasattr(app, "__await__"):
            return "asgi"
    elif _is_coroutine_function(app) or _is_coroutine_function(app.__call__):
        return "asgi"
    # app(environ, start_response), app(scope) or, without `async`, app(scope, receive,
    # send).
    return {1: "asgi2", 3: "asgi"}.get(_count_required(app), "wsgi")


def _is_coroutine_function(function):
    if inspect.iscoroutinefunction(function):
        return True
    # Marked for the asyncio of before 3.12, which an application that is marked has
    # imported.
    asyncio = sys.modules.get("asyncio")
    mark = getattr(getattr(asyncio, "coroutines", None), "_is_coroutine", None)
    return mark is not None and getattr(function, "_is_coroutine", None) is mark


def _count_required(app):
    """Positional arguments that a call must give; 0 when Python cannot tell."""
    try:
        parameters = inspect.signature(app).parameters.values()
    except (TypeError, ValueError):
        return 0
    return sum(
        p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        for p in parameters
    )
