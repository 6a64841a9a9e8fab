# SPDX-License-Identifier: MIT
"""What an application served by Banyan may use. It need not: WSGI and ASGI are
enough."""

__version__ = "0.1.0"
__all__ = ["ClientDisconnected", "RequestTimeout", "request_id"]


class RequestTimeout(BaseException):
    """Raised in the thread of a request that runs longer than --timeout, or in an event
    loop that has not turned for so long.

    Not an Exception, so that `except Exception` around a retry does not swallow it.
    """


class ClientDisconnected(ConnectionError):
    """The client left, or its upload failed; nobody reads the answer any more."""


def request_id():
    """The id of the request that is served here (as in the logs), or None."""
    from banyan import _core

    return _core.request_id()
