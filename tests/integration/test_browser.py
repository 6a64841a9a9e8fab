# SPDX-License-Identifier: MIT
"""A real browser, headless Chromium, on a Starlette site: WebSocket (which it compresses), server-
sent events, streams. It is driven through its DevTools protocol."""

import asyncio
import json
import re
import shutil

import httpx
import pytest
import websockets
from conftest import HERE, until

NAMES = ["chromium-headless-shell", "chromium"]
OPTIONS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]


@pytest.fixture(scope="module")
def site(module_site_of):
    options = ["--chdir", str(HERE / "frameworks"), "--workers", "2"]
    return module_site_of("starlette_site:app", *options)


@pytest.fixture(scope="module")
def evaluate(site, start_for_module):
    """evaluate(script): what the promise of this JavaScript gives, in a page of the site."""
    found = [path for name in NAMES if (path := shutil.which(name))]
    assert found, f"these tests need one of {NAMES}; tests/run installs it"
    profile = start_for_module.folder / "profile"
    browser = start_for_module(
        *(found[0], *OPTIONS, "--remote-debugging-port=0", f"--user-data-dir={profile}"),
        f"{site.url}/wrapped/page",
        env={"LD_PRELOAD": ""},
    )
    said = until(lambda: re.search(r"DevTools listening on ws://[^/]*:(\d+)/", browser.log()), "its port")
    port = said[1]

    def page():
        pages = httpx.get(f"http://127.0.0.1:{port}/json/list", trust_env=False).json()
        return [p["webSocketDebuggerUrl"] for p in pages if p["title"] == "A page"]

    [url] = until(page, "the page")
    return lambda script: asyncio.run(asyncio.wait_for(ask(url, script), 60))


async def ask(url, script):
    async with websockets.connect(url, max_size=None) as ws:
        params = {"expression": script, "awaitPromise": True, "returnByValue": True}
        await ws.send(json.dumps({"id": 1, "method": "Runtime.evaluate", "params": params}))
        while (answer := json.loads(await ws.recv())).get("id") != 1:
            pass
    result = answer["result"]
    assert "exceptionDetails" not in result, result
    return result["result"].get("value")


ECHO = """new Promise((done, fail) => {
  const ws = new WebSocket("ws://" + location.host + "/echo", ["demo", "other"]), seen = [];
  ws.binaryType = "arraybuffer";
  ws.onopen = () => { ws.send("caf\\u00e9"); ws.send(new Uint8Array([1, 2, 3])); };
  ws.onmessage = e => {
    seen.push(typeof e.data == "string" ? e.data : e.data.byteLength);
    if (seen.length == 2) ws.close(4001, "bye");
  };
  ws.onclose = e => done([ws.protocol, ws.extensions, ...seen, e.code, e.reason, e.wasClean]);
})"""


def test_websocket_text_binary_and_close(evaluate):
    protocol, extensions, *rest = evaluate(ECHO)
    assert (protocol, rest[:3], rest[4]) == ("demo", ["caf\xe9", 3, 4001], True)
    assert extensions.startswith("permessage-deflate")


MESSAGES = """new Promise((done, fail) => {
  const ws = new WebSocket("ws://" + location.host + "/echo"), back = [];
  const sent = ["x".repeat(1000000), "\\u{1f600}".repeat(50000)];
  for (let n = 0; n < 200; n++) sent.push("message " + n);
  ws.onopen = () => sent.forEach(m => ws.send(m));
  ws.onmessage = e => {
    back.push(e.data);
    if (back.length == sent.length) ws.close();
  };
  ws.onclose = e => done([back.length, back.every((m, n) => m == sent[n]), e.code]);
})"""


def test_large_and_many_messages(evaluate):
    assert evaluate(MESSAGES) == [202, True, 1005]


REFUSED = """new Promise((done, fail) => {
  const ws = new WebSocket("ws://" + location.host + "/nowhere");
  let opened = false;
  ws.onopen = () => opened = true;
  ws.onclose = e => done([opened, e.code]);
})"""


def test_a_refused_handshake(evaluate):
    assert evaluate(REFUSED) == [False, 1006]


EVENTS = """new Promise((done, fail) => {
  const source = new EventSource("/events?4"), seen = [];
  source.onmessage = e => {
    seen.push([e.data, e.lastEventId]);
    if (e.data == "3") { source.close(); done(seen); }
  };
})"""


def test_server_sent_events(evaluate):
    assert evaluate(EVENTS) == [[f"{n}", f"{n}"] for n in range(4)]


READER = """(async () => {
  const stop = new AbortController();
  const answer = await fetch("/events", {signal: stop.signal});
  const reader = answer.body.getReader(), text = new TextDecoder();
  let seen = "", pieces = 0;
  while (!seen.includes("data: 3")) {
    seen += text.decode((await reader.read()).value);
    pieces++;
  }
  stop.abort();
  return pieces;
})()"""


def test_a_streamed_answer_comes_in_pieces(evaluate, site):
    assert evaluate(READER) > 1
