# SPDX-License-Identifier: MIT
"""Quart on `banyan serve`, from Debian's package."""

import hashlib

import httpx
import pytest
from asgi_talk import refusal_of, talk
from conftest import HERE, until


@pytest.fixture(scope="module", params=[[], ["--embedded"]], ids=["extension", "embedded"])
def site(request, module_site_of):
    options = ["--chdir", str(HERE / "frameworks"), "--workers", "1", *request.param]
    site = module_site_of("quart_site:app", *options)
    yield site
    assert site.process.stop() == 0
    assert "quart ended" in site.log()


@pytest.fixture
def client(site):
    with httpx.Client(base_url=site.url, timeout=30) as client:
        yield client


def test_url_and_before_serving(client, site):
    assert client.get("/?a=1").json() == {"url": f"{site.url}/?a=1", "seen": ["serving"]}


def test_json_form_and_upload(client):
    assert client.post("/json", json={"a": [1, "é"]}).json() == {"got": {"a": [1, "é"]}}
    assert client.post("/form", data={"name": "Ada & Bob"}).json() == {"name": "Ada & Bob"}
    data = bytes(range(256)) * 4096
    got = client.post("/upload", files={"file": ("a.bin", data)}).json()
    assert got == {"size": len(data), "sha": hashlib.sha256(data).hexdigest()}


def test_sessions(client):
    assert [client.get("/count").text for _ in range(3)] == ["1", "2", "3"]


def test_server_sent_events(client):
    assert client.get("/events").text == "data: 0\n\ndata: 1\n\ndata: 2\n\n"


def test_sync_views_run_in_threads(client):
    assert client.get("/thread").text == "False"


def test_background_tasks(client):
    assert client.post("/job/one").status_code == 202
    until(lambda: "one" in client.get("/").json()["seen"])


def test_a_failing_view_is_500(client, site):
    assert client.get("/fail").status_code == 500
    site.wait_log("RuntimeError: quart view failed")


def test_websocket(site):
    async def conversation(ws):
        await ws.send("one")
        await ws.send("two")
        return [await ws.recv(), await ws.recv()]

    assert talk(site.url + "/ws", conversation) == ["echo one", "echo two"]


def test_a_refused_websocket_gets_the_views_answer(site):
    assert refusal_of(site.url + "/refused") == 401
    assert refusal_of(site.url + "/nowhere") == 404
