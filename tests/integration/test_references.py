# SPDX-License-Identifier: MIT
"""References on a debug Python: their total is flat over ten thousand requests, and over a thousand
of whatever else there is. The programs are built for that interpreter first."""

import glob
import os
import subprocess
from urllib.parse import quote

import pytest
from asgi_talk import AsgiSite, body, script, start
from conftest import ROOT, until

REQUESTS = 10_000
OTHERS = 1_000
BATCH = 25  # of pipelined requests
# What the interpreter holds back differs by some; one reference lost each time is more, where the
# rarest thing is done OTHERS // 10 times.
DRIFT = 95


@pytest.fixture(scope="module")
def debug_python():
    found = sorted(glob.glob("/usr/bin/python3.*-dbg"))
    assert found, "these tests need python3-dbg; tests/run installs it"
    return found[0]


@pytest.fixture(scope="module")
def debug_programs(debug_python):
    """The folder of programs that are built for the debug Python."""
    if os.environ.get("BANYAN_PRESET") == "asan":
        pytest.skip("references are counted without sanitizers")
    build = str(ROOT / "build" / "debug-python")  # kept: the next time there is little to do
    kind = ["-G", "Ninja", "-DCMAKE_BUILD_TYPE=Debug", "-DBUILD_TESTING=OFF", "-DWERROR=OFF"]
    for argv in (
        ["cmake", "-S", str(ROOT), "-B", build, *kind, f"-DBANYAN_PYTHON={debug_python}"],
        ["cmake", "--build", build],
    ):
        made = subprocess.run(argv, capture_output=True, text=True, timeout=600)
        assert made.returncode == 0, made.stdout[-3000:] + made.stderr[-3000:]
    return f"{build}/bin"


def site_with(debug_programs, debug_python, make):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BANYAN_BIN", debug_programs)
        return make("--python", debug_python)


@pytest.fixture(scope="module")
def asgi(debug_programs, debug_python, module_site_of):
    def make(*options):
        return AsgiSite(module_site_of, "--loop", "asyncio", *options)

    return site_with(debug_programs, debug_python, make)


@pytest.fixture(scope="module")
def wsgi(debug_programs, debug_python, module_site_of):
    def make(*options):
        site = AsgiSite(module_site_of, "--threads", "1", *options, application="apps.dispatch")
        return site

    return site_with(debug_programs, debug_python, make)


def references(site):
    return int(site.get("/references").body)


def ask(site, count, target, status=200, method="GET", fields=(), body=None):
    with site.connect(patience_s=60) as connection:
        for _ in range(count // BATCH):
            for _ in range(BATCH):
                connection.request(method, target, fields, body)
            for _ in range(BATCH):
                assert connection.response().status == status


def hello(site, count):
    ask(site, count, "/hello")


def scope(site, count):
    ask(site, count, "/show_scope/caf%C3%A9?q=1", fields=[("X-A", "1"), ("X-B", "2")])


def upload(site, count):
    ask(site, count, "/upload", method="POST", body=b"x" * 5000)


def stream(site, count):
    ask(site, count, script(start(), *[body(b"piece", True)] * 3, body())[0])


def refusals(site, count):
    wrong = [{"type": "nonsense"}, body(b"early"), start(headers=[(b"a", b"\r\n")]), None]
    ask(site, count, script("receive", *wrong, start(), body(b"right"), start(), "receive")[0])


def lost_clients(site, count):
    target, key = script("receive", start(), body(b"some", True), "receive", body(b"late"))
    for _ in range(count // 10):
        with site.connect() as connection:
            connection.request("GET", target)
            while b"some" not in connection.buffer:
                assert connection.receive()
    site.ended(key)


def failures(site, count):
    ask(site, count // 10 // BATCH * BATCH, f"/script/x?{quote(repr(['receive', 'raise']))}", status=500)


def messages(site, count):
    with site.socket() as ws:
        for n in range(count):
            ws.put("text" if n % 2 else b"bytes")
        for _ in range(count):
            ws.get()
        ws.leave()


def sockets(site, count):
    for n in range(count // 2):
        with site.socket(protocols=["a"]) as ws:
            ws.put("text")
            ws.get()
            if n % 2:
                ws.leave(4000, "enough")


def settled(site):
    """The references once whatever was going on has ended."""
    seen = [references(site)]

    def stands():
        seen.append(references(site))
        return abs(seen[-1] - seen[-2]) < 5

    until(stands, "a total that stays")
    return seen[-1]


def drift(site, work, count):
    """How many references it kept, in the best of a few rounds: caches fill once, a leak goes on."""
    work(site, max(count // 10, 2 * BATCH))  # what is made once has been made
    kept = []
    for _ in range(6):
        before = settled(site)
        work(site, count)
        kept.append(settled(site) - before)
        if abs(kept[-1]) < DRIFT:
            break
    return min(kept, key=abs)


def test_ten_thousand_requests_keep_no_reference(asgi):
    assert abs(drift(asgi, hello, REQUESTS)) < DRIFT


def test_neither_with_wsgi(wsgi):
    assert abs(drift(wsgi, hello, REQUESTS)) < DRIFT


WORK = [scope, upload, stream, refusals, messages, sockets, failures, lost_clients]


@pytest.mark.parametrize("work", WORK, ids=lambda work: work.__name__)
def test_neither_does_anything_else(asgi, work):
    assert abs(drift(asgi, work, OTHERS)) < DRIFT
