# SPDX-License-Identifier: MIT
"""An application that is mounted at a path: a route with strip-prefix, or --root-path; and
what applications are told of the time that their requests waited."""

import ast
import json
import threading
import time

import pytest
from conftest import HERE, PYTHON, Connection, program, until
from test_config import Served

MOUNTED = """
threads: 1
pools:
  - name: shop
    backends: [{endpoint: "@shop"}]
routes:
  - {path: /shop, pool: shop, strip-prefix: yes}
  - {path: /kept, pool: shop}
"""


class Mounted(Served):
    def __init__(self, start, app, *options, text=MOUNTED):
        super().__init__(start, text)
        start(
            *(program("banyan-app"), app, "--python", PYTHON, "--pool", "shop", *options),
            *("--bind", f"ipc://{start.folder}/shop.sock", "--chdir", str(HERE)),
        )
        self.proxy.wait_log(" is up (pid ")

    def environ(self, path, field=""):
        with Connection(self.address) as c:
            c.send(f"GET {path} HTTP/1.1\r\nHost: x\r\n{field}\r\n".encode())
            shown = json.loads(c.response("GET").body)
        return {k: ast.literal_eval(v) for k, (kind, v) in shown.items() if kind in ("str", "float")}

    def scope(self, path, field=""):
        with Connection(self.address) as c:
            c.send(f"GET {path} HTTP/1.1\r\nHost: x\r\n{field}\r\n".encode())
            return ast.literal_eval(c.response("GET").body.decode())


def names(environ):
    return environ["SCRIPT_NAME"], environ["PATH_INFO"], environ["REQUEST_URI"]


def test_wsgi_sees_script_name_and_the_rest(start):
    site = Mounted(start, "apps.show_environ")
    assert names(site.environ("/shop/cart/7?a=/b")) == ("/shop", "/cart/7", "/shop/cart/7?a=/b")
    assert names(site.environ("/shop")) == ("/shop", "", "/shop")
    assert names(site.environ("/sh%6Fp/a%2Fb")) == ("/shop", "/a/b", "/sh%6Fp/a%2Fb")
    assert names(site.environ("/kept/cart")) == ("", "/kept/cart", "/kept/cart")
    assert site.says("/shopping") == 404


def test_another_app_server_understands_it(start):
    """Written from the protocol's specification alone."""
    (start.folder / "where.py").write_text(
        "def application(environ, start_response):\n"
        "    start_response('200 OK', [('Content-Type', 'text/plain')])\n"
        "    yield repr([environ['SCRIPT_NAME'], environ['PATH_INFO']]).encode()\n"
    )
    site = Served(start, MOUNTED)
    endpoint = f"ipc://{start.folder}/shop.sock"
    start(PYTHON, HERE / "second_backend.py", endpoint, "--pool", "shop", "--wsgi", "where:application", cwd=start.folder)
    site.proxy.wait_log(" is up (pid ")
    assert site.says("/sh%6Fp/cart?x") == "['/shop', '/cart']"
    assert site.says("/shop") == "['/shop', '']"
    assert site.says("/kept/cart") == "['', '/kept/cart']"


def test_asgi_sees_root_path_and_the_whole_path(start):
    site = Mounted(start, "apps.asgi.show_scope")
    scope = site.scope("/sh%6Fp/c%C3%A9?a=b")
    assert (scope["root_path"], scope["path"], scope["raw_path"]) == ("/shop", "/shop/cé", b"/sh%6Fp/c%C3%A9")
    scope = site.scope("/kept/cart")
    assert (scope["root_path"], scope["path"]) == ("", "/kept/cart")


def test_a_gathered_body_goes_to_the_mounted_application_too(start):
    """Its frame is packed twice."""
    site = Mounted(start, "apps.show_environ")
    with Connection(site.address) as c:
        c.send(b"POST /shop/cart HTTP/1.1\r\nHost: x\r\nContent-Length: 50000\r\n\r\n")
        c.send(b"x" * 50000)
        shown = json.loads(c.response("POST").body)
    assert shown["SCRIPT_NAME"] == ["str", "'/shop'"] and shown["PATH_INFO"] == ["str", "'/cart'"]
    assert shown["HTTP_X_REQUEST_START"][1].startswith("'t=")


@pytest.mark.parametrize("path", ["/shop/cart", "/kept/cart"])
def test_root_path_says_so_without_a_route(start, path):
    site = Mounted(start, "apps.show_environ", "--root-path", "/kept")
    script = "/shop" if path == "/shop/cart" else "/kept"
    assert names(site.environ(path)) == (script, "/cart", path)


def test_a_reload_changes_what_is_stripped(start):
    site = Mounted(start, "apps.show_environ")
    site.write(MOUNTED.replace(", strip-prefix: yes", ""))
    site.reload("routes: 2 -> 2, from the new list")
    assert names(site.environ("/shop/cart")) == ("", "/shop/cart", "/shop/cart")


def test_a_reload_gives_a_pool_its_cookie(start):
    site = Mounted(start, "apps.show_environ")
    assert site.get("/shop")["Set-Cookie"] is None
    site.write(MOUNTED.replace("name: shop\n", "name: shop\n    sticky: node\n"))
    site.reload('pool shop: sticky: "" -> "node"')
    until(lambda: (site.get("/shop")["Set-Cookie"] or "").startswith("node="), "the cookie")


# ---- how long it waited


def started(value):
    assert value.startswith("t=") and len(value) == 18
    return int(value[2:]) / 1e6


@pytest.mark.parametrize("app", ["apps.show_environ", "apps.asgi.show_scope"])
def test_applications_are_told_when_their_request_came(start, app):
    site = Mounted(start, app)
    before = time.time()
    forged = "X-Request-Start: t=1000000000000000\r\n"
    if "asgi" in app:
        scope = site.scope("/shop", forged)
        waited = scope["banyan.queue_time"]
        (value,) = [v for k, v in scope["headers"] if k == b"x-request-start"]
        value = value.decode()
    else:
        environ = site.environ("/shop", forged)
        waited, value = environ["banyan.queue_time"], environ["HTTP_X_REQUEST_START"]
    assert before - 0.5 < started(value) < time.time() + 0.5
    assert 0 <= waited < 5


def test_a_trusted_peer_says_when_it_came(start):
    site = Mounted(start, "apps.show_environ", text="trusted-proxies: 127.0.0.1\n" + MOUNTED)
    assert site.environ("/shop", "X-Request-Start: t=1.5\r\n")["HTTP_X_REQUEST_START"] == "t=1.5"
    assert started(site.environ("/shop")["HTTP_X_REQUEST_START"]) > 1e9


def test_the_time_in_the_queue_counts(start):
    site = Mounted(start, "apps.waited", "--threads", "1")
    answers = []

    def ask():
        answers.append(float(site.get("/shop?0.2").body))

    threads = [threading.Thread(target=ask) for _ in range(5)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    answers.sort()
    # One after the other, each for 0.2 s.
    assert answers[0] < 0.2 and answers[-1] >= 0.5
