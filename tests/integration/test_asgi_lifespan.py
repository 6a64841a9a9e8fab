# SPDX-License-Identifier: MIT
"""The lifespan of an application: its start before the first request, its failures, its end after
the last one."""

import signal

import pytest
from asgi_talk import AsgiSite
from conftest import HERE, PYTHON, free_port, program, until


@pytest.fixture
def journal_site(site_of, tmp_path):
    """journal_site(how, options...): a site of apps/asgi_journal.py, and what it wrote."""

    def make(how, *options):
        journal = tmp_path / "journal"
        journal.touch()
        env = ["--env", f"JOURNAL={journal}", "--env", f"LIFESPAN={how}"]
        site = AsgiSite(site_of, *env, *options, application="apps.asgi_journal")
        site.lines = lambda: journal.read_text().splitlines()
        return site

    return make


def failing(start, tmp_path, how, *options):
    """A site that is not expected to come up."""
    journal = tmp_path / "journal"
    journal.touch()
    return start(
        *(program("banyan"), "serve", "--bind", f"127.0.0.1:{free_port()}", "--chdir", HERE),
        *("--workers", "1", "--python", PYTHON, "--env", f"JOURNAL={journal}"),
        *("--env", f"LIFESPAN={how}", *options, "apps.asgi_journal"),
    )


@pytest.mark.parametrize("host", [[], ["--embedded"], ["--loop", "asyncio"]], ids=" ".join)
def test_88_startup_comes_before_and_shutdown_after_all_requests(journal_site, host):
    site = journal_site("good", *host)
    assert site.get("/").body == b"['ready']"
    assert site.process.stop() == 0
    first, *rest = site.lines()
    assert first.startswith("lifespan.startup 2.0 ")
    assert rest == ["started", "request", "answered", "shutdown"]


def test_88b_shutdown_waits_for_the_last_answer(journal_site):
    site = journal_site("good")
    with site.connect() as connection:
        connection.request("GET", "/?0.5")
        until(lambda: "request" in site.lines(), "the request")
        site.process.signal(signal.SIGTERM)
        assert connection.response().body == b"['ready']"
    assert site.process.wait() == 0
    assert site.lines()[-2:] == ["answered", "shutdown"]


@pytest.mark.parametrize("lifespan", ["auto", "on"])
def test_88c_a_failed_startup_ends_with_its_message(start, tmp_path, lifespan):
    process = failing(start, tmp_path, "fails", "--lifespan", lifespan)
    assert process.wait() not in (0, 2)
    assert "the database is away" in process.log()


def test_88d_an_exception_means_no_lifespan(journal_site):
    site = journal_site("raises")
    assert site.get("/").body == b"[]"
    assert site.process.stop() == 0
    assert "started" not in site.lines()


def test_88e_unless_it_is_asked_for(start, tmp_path):
    process = failing(start, tmp_path, "raises", "--lifespan", "on")
    assert process.wait() not in (0, 2)
    assert "no lifespan here" in process.log()


def test_88f_off_means_that_the_application_hears_nothing_of_it(journal_site):
    site = journal_site("good", "--lifespan", "off")
    assert site.get("/").body == b"[]"
    assert site.process.stop() == 0
    assert site.lines() == ["request", "answered"]


def test_88g_an_application_that_returns_at_once_is_served(journal_site):
    site = journal_site("ignores")
    assert site.get("/").status == 200
    assert site.process.stop() == 0


def test_88h_a_failed_shutdown_is_logged(journal_site):
    site = journal_site("fails late")
    assert site.get("/").status == 200
    site.process.stop()
    assert "could not flush" in site.log()


def test_88i_an_exit_in_the_startup_is_not_a_hang(start, tmp_path):
    process = failing(start, tmp_path, "exits")
    assert process.wait() not in (0, 2)
    assert "cannot go on" in process.log()


def test_88j_each_process_has_one_lifespan(journal_site):
    site = journal_site("good", "--workers", "2")
    until(lambda: sum("lifespan.startup" in line for line in site.lines()) == 2, "both")
    assert site.get("/").status == 200
    until(lambda: site.lines().count("started") == 2)
    assert site.process.stop() == 0
    starts = [line for line in site.lines() if "lifespan.startup" in line]
    assert len(set(starts)) == 2 and site.lines().count("shutdown") == 2


def test_88k_a_replaced_process_gets_its_shutdown(journal_site):
    site = journal_site("good", "--max-requests", "3")
    for _ in range(4):
        assert site.get("/").status == 200
    until(lambda: "shutdown" in site.lines(), "the shutdown of the first process")
    until(lambda: site.lines().count("started") > 1, "another process")
    assert site.get("/").status == 200


def test_88l_sighup_starts_anew_and_shuts_the_old_one_down(journal_site):
    site = journal_site("good")
    assert site.get("/").status == 200
    site.process.signal(signal.SIGHUP)
    until(lambda: "shutdown" in site.lines() and site.lines().count("started") == 2, "the new one")
    assert site.get("/").status == 200
