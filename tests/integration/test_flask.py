# SPDX-License-Identifier: MIT
"""Flask on `banyan serve`, from Debian's package and from a virtual environment."""

import hashlib

import pytest
import requests
from conftest import HERE

FRAMEWORKS = str(HERE / "frameworks")


@pytest.fixture(scope="module", params=["debian", "venv", "embedded"])
def flask_site(request, module_site_of, framework_python):
    options = ["--chdir", FRAMEWORKS, "--threads", "4", "--workers", "2"]
    if request.param == "embedded":
        options += ["--embedded"]
    else:
        options += ["--python", framework_python(request.param)]
    return module_site_of("flask_site:app", *options)


def test_page_and_json_with_query(flask_site):
    assert requests.get(flask_site.url).text == "<h1>Flask</h1>"
    got = requests.get(flask_site.url + "/items/7?q=caf%C3%A9").json()
    assert got == {"number": 7, "query": "café", "host": f"127.0.0.1:{flask_site.port}"}


def test_unknown_page_is_the_applications_404(flask_site):
    got = requests.get(flask_site.url + "/nowhere")
    assert got.status_code == 404 and "Not Found" in got.text


def test_form_and_upload(flask_site):
    got = requests.post(flask_site.url + "/form", data={"name": "Ada & Bob"}).json()
    assert got == {"name": "Ada & Bob", "kind": "application/x-www-form-urlencoded"}
    data = bytes(range(256)) * 8192  # 2 MiB
    got = requests.post(flask_site.url + "/upload", files={"file": ("a.bin", data)}).json()
    assert got == {"name": "a.bin", "size": len(data), "sha": hashlib.sha256(data).hexdigest()}


def test_session_cookie_counts_and_cookies_stay_apart(flask_site):
    with requests.Session() as s:
        assert [s.get(flask_site.url + "/count").text for _ in range(3)] == ["1", "2", "3"]
    got = requests.get(flask_site.url + "/cookies")
    assert got.cookies.get_dict() == {"a": "1", "b": "2"}


def test_streamed_rows_arrive_whole(flask_site):
    got = requests.get(flask_site.url + "/stream?name=x", stream=True)
    lines = list(got.iter_lines())
    assert len(lines) == 1000 and lines[-1] == b"row 999 of x"


def test_failing_view_is_500_with_traceback_and_request_id_in_the_log(flask_site):
    got = requests.get(flask_site.url + "/fail")
    assert got.status_code == 500
    flask_site.wait_log("RuntimeError: flask view failed")
    flask_site.wait_log("about to fail")
