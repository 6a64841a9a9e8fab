# SPDX-License-Identifier: MIT
"""Python's logging and the server's log.

Records get the attribute `request_id`. What an application logs without having configured
logging goes to the server's log with its level. Nothing else is touched: an application's
own handlers, levels and formats are its own.
"""

import logging

from banyan import _core


class ServerLog(logging.Handler):
    """In place of logging.lastResort, which would lose the level."""

    def emit(self, record):
        try:
            _core.log(record.levelno, f"{record.name}: {self.format(record)}")
        except Exception:
            self.handleError(record)


def install():
    """Before the application is imported; again changes nothing."""
    if isinstance(logging.lastResort, ServerLog):
        return
    logging.lastResort = ServerLog(logging.WARNING)
    make = logging.getLogRecordFactory()

    def make_record(*args, **kwargs):
        record = make(*args, **kwargs)
        record.request_id = _core.request_id() or "-"
        return record

    logging.setLogRecordFactory(make_record)
