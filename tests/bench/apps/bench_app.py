"""The WSGI application every deployment of the bench serves: one look-up, then the workload.

Flask and Django are imported on first use, so that memory measured after `hello` is the
server's own."""

import os
import threading
import time

HELLO = b"Hello, World!"
FILE = os.environ.get("BENCH_FILE", "")


def reply(start_response, body, content_type="text/plain"):
    headers = [("Content-Type", content_type), ("Content-Length", str(len(body)))]
    start_response("200 OK", headers)
    return [body]


def hello(environ, start_response):
    return reply(start_response, HELLO)


def sleep20(environ, start_response):
    time.sleep(0.02)
    return reply(start_response, HELLO)


def spin300(environ, start_response):
    end = time.perf_counter() + 0.0003
    while time.perf_counter() < end:
        pass
    return reply(start_response, HELLO)


def post(environ, start_response):
    got = 0
    while piece := environ["wsgi.input"].read(65536):
        got += len(piece)
    return reply(start_response, b"%d" % got)


def file(environ, start_response):
    size = str(os.path.getsize(FILE))
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", size)])
    return environ["wsgi.file_wrapper"](open(FILE, "rb"), 65536)


def load_flask():
    from flask import Flask, jsonify

    app = Flask(__name__)

    @app.route("/flask")
    def view():
        return jsonify(message="Hello, World!", id=1, ok=True)

    return app.wsgi_app


def load_django():
    from django.conf import settings

    settings.configure(
        DEBUG=False,
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF=__name__,
        SECRET_KEY="bench",
        MIDDLEWARE=[
            "django.middleware.security.SecurityMiddleware",
            "django.middleware.common.CommonMiddleware",
        ],
    )
    from django.core.wsgi import get_wsgi_application
    from django.http import HttpResponse
    from django.urls import path

    def view(request):
        return HttpResponse("Hello, World!", content_type="text/plain")

    global urlpatterns
    urlpatterns = [path("django", view)]
    return get_wsgi_application()


def lazy(path, load):
    lock, loaded = threading.Lock(), []

    def first(environ, start_response):
        with lock:
            if not loaded:
                loaded.append(load())
        ROUTES[path] = loaded[0]
        return loaded[0](environ, start_response)

    return first


ROUTES = {"/hello": hello, "/spin300": spin300, "/sleep20": sleep20, "/post": post, "/file": file}
ROUTES["/flask"] = lazy("/flask", load_flask)
ROUTES["/django"] = lazy("/django", load_django)


def application(environ, start_response):
    return ROUTES[environ["PATH_INFO"]](environ, start_response)
