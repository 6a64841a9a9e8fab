# SPDX-License-Identifier: MIT
"""The example application: a POST leaves a row in PostgreSQL, a GET counts them.

DATABASE is libpq's connection string, DATABASE_PASSWORD_FILE a mounted secret. The table has no
key on purpose: a request that ran twice would leave two rows.
"""

import os
import pathlib
import socket
import threading

import psycopg2
from psycopg2 import extensions

WHO = os.environ.get("WHO") or socket.gethostname()
VERSION = os.environ.get("VERSION", "1")
DATABASE = os.environ.get("DATABASE", "dbname=ledger")
PASSWORD_FILE = os.environ.get("DATABASE_PASSWORD_FILE")
here = threading.local()  # a connection for each thread: Banyan's live as long as the process


def connect():
    more = {}
    if PASSWORD_FILE:
        more["password"] = pathlib.Path(PASSWORD_FILE).read_text().strip()
    connection = psycopg2.connect(DATABASE, connect_timeout=5, **more)
    connection.autocommit = True
    return connection


def is_dead(connection):
    status = connection.get_transaction_status()
    return connection.closed or status == extensions.TRANSACTION_STATUS_UNKNOWN


def execute(sql, values=()):
    """The first row, if there is one. An error is the client's to judge: nothing is tried twice."""
    if getattr(here, "connection", None) is None or is_dead(here.connection):
        here.connection = connect()
    try:
        with here.connection.cursor() as cursor:
            cursor.execute(sql, values)
            return cursor.fetchone() if cursor.description else None
    except psycopg2.OperationalError:
        here.connection.close()
        raise


def application(environ, start_response):
    if environ["REQUEST_METHOD"] == "POST":
        key = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"] or 0)).decode()
        execute("INSERT INTO ledger VALUES (%s, %s)", (key, WHO))
        answer = f"{key} is in the ledger\n"
    elif environ["PATH_INFO"] == "/count":
        answer = f"{execute('SELECT count(*) FROM ledger')[0]}\n"
    else:
        answer = f"{WHO}, version {VERSION}\n"
    body = answer.encode()
    fields = [
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Content-Length", str(len(body))),
        ("X-Who", f"{WHO}/{os.getpid()}"),
        ("X-Version", VERSION),
    ]
    start_response("200 OK", fields)
    return [body]
