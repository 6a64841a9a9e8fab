# SPDX-License-Identifier: MIT
"""Starlette on `banyan serve`: routing, mounts, middleware, sessions, static files, events,
WebSocket endpoints, and clients that leave."""

import asyncio

import httpx
import pytest
import websockets
from asgi_talk import talk
from conftest import HERE, until

FRAMEWORKS = str(HERE / "frameworks")


@pytest.fixture(scope="module", params=["debian", "venv", "embedded"])
def site(request, module_site_of, framework_python):
    options = ["--chdir", FRAMEWORKS, "--workers", "1"]
    if request.param == "embedded":
        options += ["--embedded"]
    else:
        options += ["--python", framework_python(request.param)]
    return module_site_of("starlette_site:app", *options)


@pytest.fixture
def client(site):
    with httpx.Client(base_url=site.url, timeout=30) as client:
        yield client


def test_url_and_client(client, site):
    assert client.get("/?q=1").text == f"{site.url}/?q=1 127.0.0.1"


def test_routes_and_converters(client, site):
    assert client.get("/items/7").json() == {"number": 7, "url": f"{site.url}/items/7", "root_path": ""}
    assert client.get("/items/x").status_code == 404
    assert client.post("/items/7").status_code == 405
    assert client.get("/thing").text == "got" and client.delete("/thing").text == "deleted"
    got = client.get("/home")
    assert (got.status_code, got.headers["location"]) == (307, f"{site.url}/items/1")


def test_62_a_mounted_part_knows_its_root_path(client, site):
    got = client.get("/api/m/a%20b").json()
    assert (got["name"], got["root_path"]) == ("a b", "/api")
    assert got["url"] in (f"{site.url}/api/m/a%20b", f"{site.url}/api/m/a b")  # by version


def test_hosts(client):
    assert client.get("/host", headers={"Host": "one.example.org"}).text == "sub one"


def test_middleware_and_compression(client):
    got = client.get("/wrapped/page", headers={"Accept-Encoding": "gzip"})
    assert got.headers["X-Stamp"] == "starlette"
    assert client.get("/wrapped/count").text == "1"
    assert got.headers["Content-Encoding"] == "gzip" and "<!doctype" in got.text


def test_sessions(client):
    assert [client.get("/count").text for _ in range(3)] == ["1", "2", "3"]


def test_static_files(client):
    got = client.get("/static/app.js")
    assert got.text == 'console.log("static");\n' and "javascript" in got.headers["content-type"]
    again = client.get("/static/app.js", headers={"If-None-Match": got.headers["etag"]})
    assert again.status_code == 304 and again.content == b""
    head = client.head("/static/app.js")
    assert head.headers["content-length"] == str(len(got.content)) and head.content == b""
    assert client.get("/static/../settings.py").status_code == 404
    assert client.get("/static/absent").status_code == 404


def test_streamed_request(client):
    def pieces():
        for _ in range(50):
            yield b"x" * 10_000

    assert client.post("/size", content=pieces()).text == "500000"


def test_exceptions(client, site):
    got = client.get("/forbidden")
    assert (got.status_code, got.text) == (403, "not for you")
    assert client.get("/fail").status_code == 500
    site.wait_log("RuntimeError: starlette view failed")


def test_server_sent_events(client):
    with client.stream("GET", "/events?3") as got:
        assert got.headers["content-type"].startswith("text/event-stream")
        lines = [line.strip() for line in got.iter_lines()]
    assert [line for line in lines if line.startswith("data")] == ["data: 0", "data: 1", "data: 2"]


def test_an_endless_stream_ends_with_its_client(client):
    before = client.get("/ended").json()["ended"]
    with client.stream("GET", "/events") as got:
        next(got.iter_lines())
    until(lambda: client.get("/ended").json()["ended"] == before + 1, "the generator's end")


def test_is_disconnected(client, site):
    before = client.get("/ended").json()["ended"]
    with pytest.raises(httpx.ReadTimeout):
        httpx.get(f"{site.url}/watched", timeout=0.3)
    until(lambda: client.get("/ended").json()["ended"] == before + 1, "the disconnect")


@pytest.mark.parametrize("path", ["/echo", "/api/echo"])
def test_websocket_endpoint(client, site, path):
    messages = ["text", "café", b"\0\1", "x" * 70_000]

    async def conversation(ws):
        for message in messages:
            await ws.send(message)
        return ws.subprotocol, [await ws.recv() for _ in messages]

    assert talk(site.url + path, conversation, subprotocols=["one", "two"]) == ("one", messages)

    async def leaving(ws):
        await ws.close(4003, "leaving")

    talk(site.url + path, leaving)
    until(lambda: client.get("/ended").json().get("closed") == 4003)


def test_fifty_websockets_at_once(site):
    async def one(number):
        async with websockets.connect(site.url.replace("http:", "ws:") + "/echo") as ws:
            for n in range(10):
                await ws.send(f"{number} {n}")
                assert await ws.recv() == f"{number} {n}"

    async def all_of_them():
        await asyncio.gather(*[one(n) for n in range(50)])

    asyncio.run(asyncio.wait_for(all_of_them(), 60))
