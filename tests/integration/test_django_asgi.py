# SPDX-License-Identifier: MIT
"""Django's ASGI handler on `banyan serve`: async views, streams, admin login with CSRF."""

import concurrent.futures
import hashlib
import os

import pytest
import requests
from test_django import FRAMEWORKS, csrf_token, make_database

STATIC = "body { color: green; }\n"


@pytest.fixture(scope="module", params=["debian", "venv", "embedded"])
def site(request, module_site_of, framework_python, tmp_path_factory):
    python = framework_python("debian" if request.param == "embedded" else request.param)
    database = make_database(python, tmp_path_factory)
    how = ["--embedded"] if request.param == "embedded" else ["--python", python]
    options = ["--chdir", FRAMEWORKS, "--workers", "1", "--env", f"SITE_DATABASE={database}"]
    return module_site_of("django_site.asgi", *options, *how)


def test_absolute_uri_names_the_host_the_client_used(site):
    assert requests.get(site.url + "/").text == f"Django at {site.url}/"


def test_async_views_wait_together_and_reach_the_database(site):
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        get = lambda _: requests.get(site.url + "/together?n=20", timeout=30).text  # noqa: E731
        assert set(pool.map(get, range(20))) == {"1"}


def test_admin_login_with_csrf(site):
    with requests.Session() as s:
        page = s.get(site.url + "/admin/login/?next=/admin/")
        token = csrf_token(page.text)
        form = {"username": "ada", "password": "secret", "next": "/admin/", "csrfmiddlewaretoken": token}
        done = s.post(site.url + "/admin/login/?next=/admin/", data=form)
        assert done.status_code == 200 and "Site administration" in done.text
        assert "a@example.com" in s.get(site.url + "/admin/auth/user/").text
    assert requests.post(site.url + "/guarded").status_code == 403


def test_upload(site):
    data = os.urandom(5 << 20)
    got = requests.post(site.url + "/upload", files={"file": ("big.bin", data)}).json()
    assert got == {"name": "big.bin", "size": len(data), "sha": hashlib.sha256(data).hexdigest()}


@pytest.mark.parametrize(("path", "lines"), [("/stream", 5000), ("/astream", 1000)])
def test_streams_are_whole(site, path, lines):
    got = requests.get(site.url + path)
    assert got.text == "".join(f"line {n}\n" for n in range(lines))


def test_static_files(site):
    got = requests.get(site.url + "/static/demo/style.css")
    assert got.text == STATIC and got.headers["Content-Type"] == "text/css"
    since = {"If-Modified-Since": got.headers["Last-Modified"]}
    again = requests.get(site.url + "/static/demo/style.css", headers=since)
    assert again.status_code == 304 and again.content == b""


def test_failing_view_is_500_and_the_site_lives_on(site):
    assert requests.get(site.url + "/fail").status_code == 500
    site.wait_log("RuntimeError: django view failed")
    assert requests.get(site.url + "/").status_code == 200
