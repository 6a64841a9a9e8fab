# SPDX-License-Identifier: MIT
"""deploy/examples, each with the command that its first lines name; the manual pages."""

import http.cookiejar
import json
import pathlib
import re
import shlex
import subprocess
import urllib.error
import urllib.parse
import urllib.request

import pytest
from conftest import ROOT, Connection, free_port, program
from ws_talk import WebSocket

PYTHON = "/usr/bin/python3"


@pytest.fixture
def serve(start):
    """Runs the example's own command on a port of ours; returns its address."""

    def run(path, **env):
        text = (ROOT / "deploy" / "examples" / path).read_text()
        command = re.search(r"(banyan serve .*?)(?:\"\"\")?$", text, re.M).group(1)
        words = shlex.split(command)
        port = free_port()
        process = start(
            program("banyan"),
            *words[1:],
            "--bind",
            f"127.0.0.1:{port}",
            "--python",
            PYTHON,
            cwd=ROOT,
            env={
                "XDG_RUNTIME_DIR": str(start.folder),
                "PYTHONDONTWRITEBYTECODE": "1",
                **env,
            },
        )
        process.wait_log(" is up (pid ")
        return f"http://127.0.0.1:{port}"

    return run


def browser():
    cookies = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
    return urllib.request.build_opener(cookies)


def fetch(opener, url, **form):
    data = urllib.parse.urlencode(form).encode() if form else None
    with opener.open(url, data, timeout=20) as answer:
        return answer.read().decode()


def test_hello(serve):
    url = serve("hello/hello.py")
    assert fetch(browser(), f"{url}/x") == "Hello from Banyan! You asked for /x\n"


def test_the_flask_guest_book(serve, tmp_path):
    pytest.importorskip("flask")
    url = serve("flask/guestbook.py", GUESTBOOK=str(tmp_path / "book.sqlite"))
    visitor = browser()
    assert "Be the first" in fetch(visitor, url)
    page = fetch(visitor, f"{url}/sign", name="Ada", text="<i>Lovely</i>")
    assert "&lt;i&gt;Lovely&lt;/i&gt;" in page
    entries = json.loads(fetch(visitor, f"{url}/entries.json"))
    assert entries == [{"name": "Ada", "text": "<i>Lovely</i>"}]
    with pytest.raises(urllib.error.HTTPError) as refused:
        fetch(visitor, f"{url}/sign", name="Ada", text=" ")
    assert refused.value.code == 400


def test_the_django_notes(serve):
    pytest.importorskip("django")
    url = serve("django/notes.py")
    visitor = browser()
    for text in ["buy <milk>", "läuft"]:
        page = fetch(visitor, url)
        token = re.search(r'csrfmiddlewaretoken" value="(\w+)"', page).group(1)
        page = fetch(visitor, f"{url}/add", text=text, csrfmiddlewaretoken=token)
    assert "<li>buy &lt;milk&gt;</li><li>läuft</li>" in page
    assert fetch(visitor, f"{url}/notes.txt") == "1. buy <milk>\n2. läuft\n"
    with pytest.raises(urllib.error.HTTPError) as refused:
        fetch(visitor, f"{url}/add", text="forged")
    assert refused.value.code == 403


def test_the_fastapi_chat(serve):
    pytest.importorskip("fastapi")
    url = serve("fastapi/chat.py")
    host, _, port = url.removeprefix("http://").partition(":")
    address = (host, int(port))
    assert "<h1>Chat</h1>" in fetch(browser(), url)
    with WebSocket(address, "/ws") as ada, WebSocket(address, "/ws") as bob, Connection(address) as curl:
        ada.put(json.dumps({"name": "Ada", "text": "<i>h\xe9llo</i>"}))
        said = {"name": "Ada", "text": "<i>h\xe9llo</i>"}
        assert json.loads(ada.get()) == json.loads(bob.get()) == said
        body = json.dumps({"name": "Eve", "text": "posted"}).encode()
        fields = [("Content-Type", "application/json")]
        assert curl.ask("POST", "/says", fields, body).status == 201
        assert json.loads(bob.get()) == {"name": "Eve", "text": "posted"}
        assert curl.ask("POST", "/says", fields, b'{"name": "Eve"}').status == 422
        curl.request("GET", "/events")
        while b"posted" not in curl.buffer:
            assert curl.receive()
        assert b"data: " in curl.buffer
        bob.put(json.dumps({"name": "Bob"}))
        assert bob.end()[0] == 1003


@pytest.mark.parametrize(
    "words", [["banyan", "serve"], ["banyan-proxy"], ["banyan-app"]], ids="-".join
)
def test_manual_pages_have_every_option(words):
    path = pathlib.Path(program(words[0]))
    help_text = subprocess.run(
        [path, *words[1:], "--help"], capture_output=True, text=True, check=True
    ).stdout
    page = path.parent.parent / "man" / f"{words[0]}.1"
    manual = page.read_text().replace("\\-", "-")
    options = re.findall(r"^ +(?:-\w, +)?(--[a-z-]+)", help_text, re.M)
    assert len(options) > 10
    missing = [o for o in options if not re.search(rf"^\\fB.*{o}\\fR", manual, re.M)]
    assert missing == []
    assert "@" not in manual
