# SPDX-License-Identifier: MIT
"""Says who it is; a POST leaves a row in PostgreSQL.

The table has no key on purpose: a request that runs twice shall leave two rows.
"""

import os
import socket
import threading

import psycopg2

WHO = os.environ.get("WHO") or socket.gethostname()
DATABASE = os.environ.get("DATABASE", "")
here = threading.local()


def connection():
    if getattr(here, "connection", None) is None or here.connection.closed:
        here.connection = psycopg2.connect(DATABASE, connect_timeout=5)
        here.connection.autocommit = True
    return here.connection


def insert(key):
    for last in (False, True):
        try:
            with connection().cursor() as cursor:
                cursor.execute("INSERT INTO ledger VALUES (%s, %s)", (key, WHO))
            return
        except psycopg2.OperationalError:
            here.connection.close()
            # A new connection may be tried if the old one was dead before it was used; after
            # an INSERT that is unknown only the client may decide.
            if last or here.connection.get_transaction_status() != 4:
                raise


def application(environ, start_response):
    answer = f"{WHO} {os.getpid()}\n".encode()
    if environ["REQUEST_METHOD"] == "POST":
        insert(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"] or 0)).decode())
    start_response(
        "200 OK",
        [
            ("Content-Type", "text/plain"),
            ("Content-Length", str(len(answer))),
            ("X-Who", f"{WHO}/{os.getpid()}"),
            ("X-Version", os.environ.get("VERSION", "1")),
        ],
    )
    return [answer]
