# SPDX-License-Identifier: MIT
"""Django on `banyan serve`: admin login with CSRF, upload, streaming, static files."""

import hashlib
import os
import re
import subprocess

import pytest
import requests
from conftest import HERE

FRAMEWORKS = str(HERE / "frameworks")


def make_database(python, tmp_path_factory):
    """A database with the administrator "ada"."""
    database = str(tmp_path_factory.mktemp("django") / "db.sqlite3")
    env = dict(os.environ, DJANGO_SETTINGS_MODULE="django_site.settings", SITE_DATABASE=database,
               PYTHONPATH=FRAMEWORKS, DJANGO_SUPERUSER_PASSWORD="secret")
    for command in (["migrate", "-v0"],
                    ["createsuperuser", "--noinput", "--username", "ada", "--email", "a@example.com"]):
        subprocess.run([python, "-m", "django", *command], env=env, check=True, timeout=120)
    return database


@pytest.fixture(scope="module", params=["debian", "venv", "embedded"])
def site(request, module_site_of, framework_python, tmp_path_factory):
    python = framework_python("debian" if request.param == "embedded" else request.param)
    database = make_database(python, tmp_path_factory)
    how = ["--embedded"] if request.param == "embedded" else ["--python", python]
    return module_site_of("django_site.wsgi", "--chdir", FRAMEWORKS, "--env",
                        f"SITE_DATABASE={database}", "--workers", "2", "--threads", "4", *how)


def csrf_token(text):
    return re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', text).group(1)


def test_absolute_uri_names_the_host_the_client_used(site):
    assert requests.get(site.url + "/").text == f"Django at {site.url}/"


def test_admin_login_with_csrf(site):
    with requests.Session() as s:
        page = s.get(site.url + "/admin/login/?next=/admin/")
        assert page.status_code == 200
        form = {"username": "ada", "password": "secret", "next": "/admin/",
                "csrfmiddlewaretoken": csrf_token(page.text)}
        done = s.post(site.url + "/admin/login/?next=/admin/", data=form)
        assert done.status_code == 200 and "Site administration" in done.text
        users = s.get(site.url + "/admin/auth/user/")
        assert "a@example.com" in users.text


def test_post_without_token_is_refused_and_with_token_accepted(site):
    assert requests.post(site.url + "/guarded").status_code == 403
    with requests.Session() as s:
        token = csrf_token(s.get(site.url + "/admin/login/").text)
        got = s.post(site.url + "/guarded", headers={"X-CSRFToken": token})
        assert got.text == "posted"


def test_upload_of_five_mebibytes(site):
    data = os.urandom(5 << 20)
    got = requests.post(site.url + "/upload", files={"file": ("big.bin", data)}).json()
    assert got == {"name": "big.bin", "size": len(data), "sha": hashlib.sha256(data).hexdigest()}


def test_streaming_response_is_chunked_and_whole(site):
    got = requests.get(site.url + "/stream", stream=True)
    assert got.headers["Transfer-Encoding"] == "chunked"
    assert got.text == "".join(f"line {n}\n" for n in range(5000))


def test_static_files_of_site_and_admin(site):
    got = requests.get(site.url + "/static/demo/style.css")
    assert got.text == "body { color: green; }\n" and got.headers["Content-Type"] == "text/css"
    assert requests.get(site.url + "/static/admin/css/base.css").status_code == 200


def test_not_modified_has_no_body(site):
    first = requests.get(site.url + "/static/demo/style.css")
    again = requests.get(site.url + "/static/demo/style.css",
                         headers={"If-Modified-Since": first.headers["Last-Modified"]})
    assert again.status_code == 304 and again.content == b""


def test_failing_view_is_500_and_the_site_lives_on(site):
    assert requests.get(site.url + "/fail").status_code == 500
    site.wait_log("RuntimeError: django view failed")
    assert requests.get(site.url + "/").status_code == 200
