# SPDX-License-Identifier: MIT
"""The cold parts of hosting an application, called from C. Nothing here runs per request."""

import atexit
import os
import pathlib
import sys
import threading
import time

from banyan import logging as bridge


def prepare(pythonpath, settings):
    """Before the application is imported. The working directory is the right one."""
    own = str(pathlib.Path(__file__).parent.parent)
    _forget_own_path(own)
    for setting in settings:
        name, _, value = setting.partition("=")
        os.environ[name] = value
    sys.argv = ["banyan-app"]
    wanted = [os.path.abspath(p) for p in pythonpath.split(":") if p] + [os.getcwd()]
    rest = [p for p in sys.path if p not in wanted and p != own]
    sys.path[:] = [*dict.fromkeys(wanted), *rest, own]
    bridge.install()


def _forget_own_path(own):
    """banyan-app put our directory on PYTHONPATH; programs that the application starts
    shall not see it."""
    first, _, rest = os.environ.get("PYTHONPATH", "").partition(":")
    if first and os.path.realpath(first) == os.path.realpath(own):
        if rest:
            os.environ["PYTHONPATH"] = rest
        else:
            del os.environ["PYTHONPATH"]


def start_thread(target, name):
    thread = threading.Thread(target=target, name=name, daemon=True)
    thread.start()
    return thread


def join_threads(threads, timeout):
    """Whether all of them ended in time."""
    until = time.monotonic() + timeout
    for thread in threads:
        thread.join(max(0, until - time.monotonic()))
    return not any(thread.is_alive() for thread in threads)


def finish():
    """What the interpreter does at its end that an application may count on."""
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):
            pass
