# SPDX-License-Identifier: MIT
"""FastAPI on `banyan serve`, from Debian's package and from a virtual environment, as its
documentation teaches it."""

import asyncio
import concurrent.futures
import hashlib
import json
import os
import subprocess

import httpx
import pytest
import websockets
from asgi_talk import refusal_of, talk
from conftest import HERE, until

FRAMEWORKS = str(HERE / "frameworks")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("file") / "file"
    path.write_bytes(os.urandom(3_000_000))
    return path


@pytest.fixture(scope="module", params=["debian", "venv", "embedded"])
def site(request, module_site_of, framework_python, data):
    options = ["--chdir", FRAMEWORKS, "--workers", "1", "--env", f"SITE_FILE={data}"]
    if request.param == "embedded":
        options += ["--embedded"]
    else:
        options += ["--python", framework_python(request.param)]
    site = module_site_of("fastapi_site:app", *options)
    yield site
    assert site.process.stop() == 0
    assert "model unloaded" in site.log()


@pytest.fixture
def client(site):
    with httpx.Client(base_url=site.url, timeout=30) as client:
        yield client


def test_lifespan_and_state(client, site):
    got = client.get("/?a=1")
    assert got.json() == {"model": "loaded", "started": 1, "url": f"{site.url}/?a=1"}
    assert float(got.headers["X-Process-Time"]) >= 0


def test_path_and_query_parameters_are_converted(client):
    got = client.get("/items/7", params={"q": "café & co", "short": "on"}).json()
    assert got == {"item_id": 7, "q": "café & co", "short": True}
    assert client.get("/items/7").json() == {"item_id": 7, "q": None, "short": False}


def test_wrong_parameters_are_a_422_that_says_where(client):
    got = client.get("/items/seven")
    assert got.status_code == 422
    assert got.json()["detail"][0]["loc"] == ["path", "item_id"]
    got = client.post("/items", json={"name": "x"})
    assert got.status_code == 422
    assert got.json()["detail"][0]["loc"] == ["body", "price"]
    assert client.post("/items", content=b"{broken").status_code == 422


def test_a_body_becomes_a_model(client):
    got = client.post("/items", json={"name": "Löffel", "price": 1.5, "tags": ["a", "b"]})
    assert got.status_code == 201
    assert got.json() == {"name": "Löffel", "total": 3.0, "tags": ["a", "b"]}


def test_headers_and_cookies(client):
    assert client.get("/headers", headers={"User-Agent": "x"}).json() == {"agent": "x", "seen": None}
    assert client.get("/headers").json()["seen"] == "yes"


def test_form(client):
    got = client.post("/login", data={"username": "Ada & Bob", "password": "s e"})
    assert got.json() == {"username": "Ada & Bob", "length": 3}


def test_upload(client):
    data = os.urandom(3_000_000)
    sha = hashlib.sha256(data).hexdigest()
    got = client.post("/upload", files={"file": ("a b.bin", data)}, data={"note": "n"})
    assert got.json() == {"name": "a b.bin", "size": len(data), "sha": sha, "note": "n"}
    files = [("file", b"x" * 10), ("file", b"y" * 100_000)]
    assert client.post("/files", files=[("file", f) for _, f in files]).status_code == 422
    assert client.post("/files", files=[("files", f) for _, f in files]).json() == [10, 100_000]


def test_upload_by_curl_with_and_without_100_continue(site, data):
    size = data.stat().st_size
    for more in ([], ["-H", "Expect: 100-continue"], ["-H", "Transfer-Encoding: chunked"]):
        argv = ["curl", "-sS", "-m", "30", "-F", f"file=@{data}", *more, f"{site.url}/upload"]
        printed = subprocess.run(argv, check=True, capture_output=True, timeout=60).stdout
        assert json.loads(printed)["size"] == size


def test_background_tasks_run_after_the_answer(client):
    assert client.post("/notify/ada@example.com").json() == "accepted"
    until(lambda: {"mailed ada@example.com", "logged ada@example.com"} <= set(client.get("/events").json()))


def test_dependencies_with_yield_are_closed(client):
    got = client.get("/me", params={"name": "one"}, headers={"X-Token": "secret"})
    assert got.json() == {"user": "ada", "session": "session one"}
    until(lambda: "closed one" in client.get("/events").json())
    got = client.get("/me", params={"name": "two"}, headers={"X-Token": "wrong"})
    assert (got.status_code, got.json(), got.headers["X-Error"]) == (401, {"detail": "bad token"}, "token")


def test_sync_handlers_run_in_threads_together(site):
    with concurrent.futures.ThreadPoolExecutor(5) as pool:
        got = list(pool.map(lambda _: httpx.get(f"{site.url}/threads", timeout=30).json(), range(5)))
    assert got == [False] * 5


@pytest.mark.parametrize(("path", "rows"), [("/stream", 1000), ("/sync-stream", 100)])
def test_streams_arrive_whole(client, path, rows):
    with client.stream("GET", path) as got:
        assert list(got.iter_lines())[-1].strip() == f"row {rows - 1}"
    assert len(client.get(path).text.splitlines()) == rows


def test_files_are_sent(client, data):
    got = client.get("/file")
    assert got.content == data.read_bytes()
    assert got.headers["Content-Length"] == str(data.stat().st_size)
    assert 'filename="name.bin"' in got.headers["Content-Disposition"]
    assert client.head("/file").status_code in (200, 405)


def test_exceptions(client, site):
    got = client.get("/teapot")
    assert (got.status_code, got.json()) == (418, {"message": "short and stout"})
    assert client.get("/nowhere").json() == {"detail": "Not Found"}
    assert client.get("/fail").status_code == 500
    site.wait_log("RuntimeError: fastapi view failed")


def test_the_documentation_of_the_application(client):
    assert "/items/{item_id}" in client.get("/openapi.json").json()["paths"]
    assert "swagger" in client.get("/docs").text.lower()


def test_mounted_wsgi_application(client):
    got = client.get("/flask/items/7", params={"q": "café"}).json()
    assert (got["number"], got["query"]) == (7, "café")
    assert client.post("/flask/form", data={"name": "Ada & Bob"}).json()["name"] == "Ada & Bob"
    data = bytes(range(256)) * 4096
    got = client.post("/flask/upload", files={"file": ("a.bin", data)}).json()
    assert got["sha"] == hashlib.sha256(data).hexdigest()
    assert len(client.get("/flask/stream").text.splitlines()) == 1000


def test_chat_of_several_clients(site):
    url = site.url.replace("http:", "ws:") + "/ws/"

    async def chat():
        async with websockets.connect(url + "1") as one, websockets.connect(url + "2") as two:
            async with websockets.connect(url + "3") as three:
                await one.send("hello")
                assert json.loads(await one.recv()) == {"you": "hello"}
                assert [await ws.recv() for ws in (one, two, three)] == ["#1 says: hello"] * 3
                await two.send("hi")
                assert json.loads(await two.recv()) == {"you": "hi"}
                assert [await ws.recv() for ws in (one, two, three)] == ["#2 says: hi"] * 3
            assert [await ws.recv() for ws in (one, two)] == ["#3 left with 1000"] * 2
            await one.close(4005, "going")
            assert await two.recv() == "#1 left with 4005"

    asyncio.run(asyncio.wait_for(chat(), 30))


def test_websocket_with_dependency(site):
    async def conversation(ws):
        data = await ws.recv()
        try:
            await ws.recv()
        except websockets.ConnectionClosed as closed:
            return data, closed.rcvd.code, closed.rcvd.reason

    got = talk(site.url + "/guarded?token=t", conversation)
    assert got == (b"t", 4000, "enough")
    assert refusal_of(site.url + "/guarded") == 403
    assert refusal_of(site.url + "/nowhere") == 403
