# SPDX-License-Identifier: MIT
"""A real Prometheus (Debian's) scrapes --metrics: it takes the page, and its queries over our
histograms and counters say what happened."""

import json
import re
import shutil
import subprocess
import urllib.parse
import urllib.request

import pytest
from conftest import PYTHON, Connection, free_port, until
from test_admin import BACKEND, Plane, scrape
from ws_talk import WebSocket


def tool(name):
    """Debian's package installs both."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed (Debian package prometheus)")
    return path


@pytest.fixture(scope="module")
def plane(start_for_module):
    address = ("127.0.0.1", free_port())
    plane = Plane(start_for_module, "--metrics", "%s:%d" % address)
    plane.metrics = address
    return plane


class Prometheus:
    def __init__(self, start, *targets):
        config = start.folder / "prometheus.yml"
        listed = ", ".join(f'"{host}:{port}"' for host, port in targets)
        config.write_text(
            "global: {scrape_interval: 250ms, scrape_timeout: 250ms}\n"
            "scrape_configs:\n"
            f"  - {{job_name: banyan, static_configs: [{{targets: [{listed}]}}]}}\n"
        )
        self.url = f"http://127.0.0.1:{free_port()}"
        self.process = start(
            tool("prometheus"), f"--config.file={config}",
            f"--storage.tsdb.path={start.folder}/tsdb",
            f"--web.listen-address={self.url.removeprefix('http://')}",
        )  # fmt: skip
        self.process.wait_log("Server is ready")

    def get(self, path, **query):
        url = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=20) as answer:
            return json.load(answer)["data"]

    def ask(self, query):
        """{labels but the scrape's own: value}"""
        rows = self.get("query", query=query)["result"]
        own = ("__name__", "job", "instance")
        return {
            tuple(sorted((k, v) for k, v in row["metric"].items() if k not in own)): float(
                row["value"][1]
            )
            for row in rows
        }


@pytest.fixture(scope="module")
def prometheus(plane, start_for_module):
    return Prometheus(start_for_module, plane.metrics)


def test_promtool_has_nothing_to_say_of_the_page(plane):
    plane.ask("/hello")
    argv = [tool("promtool"), "check", "metrics"]
    page = scrape(plane.metrics)
    done = subprocess.run(argv, input=page, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_it_is_up_and_all_of_the_page_is_there(plane, prometheus):
    until(lambda: prometheus.ask("up") == {(): 1.0}, "up is 1")
    names = set(re.findall(r"^# TYPE (\S+) (?!histogram)", scrape(plane.metrics), re.M))
    known = set(prometheus.get("label/__name__/values"))
    assert names <= known
    kinds = prometheus.get("targets/metadata")
    assert all(row["help"] and row["type"] in ("counter", "gauge", "histogram") for row in kinds)
    assert {row["metric"] for row in kinds} >= names


def test_what_belongs_to_a_pool_or_a_backend_says_so(plane, prometheus):
    until(lambda: prometheus.ask("up") == {(): 1.0}, "up is 1")
    for row in prometheus.get("series", **{"match[]": '{__name__=~"banyan_(pool|backend)_.*"}'}):
        assert row["pool"] == "default", row
        if row["__name__"].startswith("banyan_backend_"):
            assert row["backend"] in ("a", "b"), row


def test_rates_and_quantiles_are_what_happened(plane, prometheus):
    """Requests of 200 ms each, in the background, until Prometheus has seen enough of them."""
    until(lambda: prometheus.ask("up") == {(): 1.0}, "up is 1")
    quantile = (
        "histogram_quantile(0.5, sum by (le, pool) (rate(banyan_backend_app_seconds_bucket[5s])))"
    )
    with Connection(plane.address) as c:

        def median():
            assert c.ask("GET", "/slow?s=0.2").status == 200
            said = prometheus.ask(quantile).get((("pool", "default"),))
            return said if said is not None and 0.13 < said < 0.6 else None

        until(median, "the median of the last seconds")
    rate = prometheus.ask("sum by (pool) (rate(banyan_backend_requests_total[5s]))")
    assert 0 < rate[(("pool", "default"),)] < 10
    count = prometheus.ask("sum by (pool) (banyan_backend_queue_seconds_count)")
    sent = prometheus.ask("sum by (pool) (banyan_pool_sent_total)")
    assert count == sent and list(sent.values())[0] > 0
    queue = prometheus.ask("histogram_quantile(0.99, sum by (le) (banyan_backend_queue_seconds_bucket))")
    assert 0 <= queue[()] < 1


def test_a_change_is_seen(plane, prometheus):
    ready = 'banyan_backend_ready{backend="b"}'
    of_b = (("backend", "b"), ("pool", "default"))
    until(lambda: prometheus.ask(ready).get(of_b) == 1, "b is ready")
    plane.done("drain", "b")
    until(lambda: prometheus.ask(ready).get(of_b) == 0, "b is not")
    plane.done("pause")
    paused = 'banyan_pool_state{state="paused"} == 1'
    until(lambda: prometheus.ask(paused), "the pool is paused")
    plane.done("resume")
    plane.done("ready", "b")
    until(lambda: prometheus.ask(ready).get(of_b) == 1, "b is ready again")


def test_what_is_open_is_no_counter(start):
    """It falls again, and `stats reset` does not forget it."""
    address = ("127.0.0.1", free_port())
    plane = Plane(start, "--metrics", "%s:%d" % address, backends=("a",), threads=1)
    endpoint = f"ipc://{start.folder}/w.sock"
    start(PYTHON, BACKEND, endpoint, "--websocket", "--interface", "asgi").wait_log("ready")
    plane.done("add", "w", endpoint)
    plane.done("remove", "a")

    def is_open(count):
        page = scrape(address)
        assert "# TYPE banyan_edge_websockets_open gauge" in page
        return re.search(rf"^banyan_edge_websockets_open {count}$", page, re.M)

    with WebSocket(plane.address, "/ws/idle") as ws:
        assert ws.answer.status == 101
        until(lambda: is_open(1), "one is open")
        plane.done("stats", "reset")
        assert is_open(1)
    until(lambda: is_open(0), "none is open")


def test_a_proxy_that_dies_is_down(start):
    address = ("127.0.0.1", free_port())
    plane = Plane(start, "--metrics", "%s:%d" % address, backends=("a",), threads=1)
    prometheus = Prometheus(start, address)
    until(lambda: prometheus.ask("up") == {(): 1.0}, "up is 1")
    plane.proxy.kill()
    until(lambda: prometheus.ask("up") == {(): 0.0}, "up is 0")
