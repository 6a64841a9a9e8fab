"""The application of test_faults.py; a journal file lists the slow requests that ran."""

import hashlib
import os
import time

PRODUCED = [0]


def app(environ, start_response):
    return ROUTES[environ["PATH_INFO"]](environ, start_response)


def text(start_response, body):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body.encode()]


def index(environ, start_response):
    return text(start_response, "ok")


def slow(environ, start_response):
    with open(os.environ["JOURNAL"], "a") as f:
        print(environ["QUERY_STRING"], file=f)
    time.sleep(1)
    return text(start_response, "slow")


def upload(environ, start_response):
    digest, size = hashlib.sha256(), 0
    while piece := environ["wsgi.input"].read(65536):
        digest.update(piece)
        size += len(piece)
    return text(start_response, f"{size} {digest.hexdigest()}")


def download(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    piece = b"x" * 65536
    PRODUCED[0] = 0
    for _ in range(int(environ["QUERY_STRING"]) * 16):
        PRODUCED[0] += len(piece)
        yield piece


def produced(environ, start_response):
    return text(start_response, str(PRODUCED[0]))


ROUTES = {"/": index, "/slow": slow, "/upload": upload, "/download": download, "/produced": produced}
