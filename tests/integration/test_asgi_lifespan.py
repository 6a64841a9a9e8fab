# SPDX-License-Identifier: MIT
"""The lifespan of an application: its start before the first request, its failures, its end after
the last one."""

import contextlib
import os
import re
import signal
import time

import pytest
from asgi_talk import AsgiSite
from conftest import HERE, PYTHON, app_master, free_port, program, until


@pytest.fixture
def journal_site(site_of, tmp_path):
    """journal_site(how, options...): a site of apps/asgi_journal.py, and what it wrote."""

    def make(how, *options):
        journal = tmp_path / "journal"
        journal.touch()
        env = ["--env", f"JOURNAL={journal}", "--env", f"LIFESPAN={how}"]
        site = AsgiSite(site_of, *env, *options, application="apps.asgi_journal")
        site.journal = journal
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


# ---- while the one before serves ----


def ready(site):
    """How many processes have been ready."""
    return site.log().count(" is ready on ")


def longest_wait(site, is_over):
    """Seconds, of requests one after the other until then."""
    longest_s = 0
    with site.connect() as connection:
        while not is_over():
            began = time.monotonic()
            assert connection.ask("GET", "/").status == 200
            longest_s = max(longest_s, time.monotonic() - began)
            time.sleep(0.005)
    return longest_s


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_88m_nobody_waits_for_a_slow_startup_after_sighup(journal_site, loop):
    site = journal_site("good", "--env", "STARTUP_S=3", "--loop", loop)
    site.process.signal(signal.SIGHUP)
    assert longest_wait(site, lambda: ready(site) == 2) < 1
    assert site.process.stop() == 0
    assert site.lines().count("shutdown") == 2


def test_88n_nor_when_a_process_is_recycled(journal_site):
    site = journal_site("good", "--env", "STARTUP_S=3", "--max-requests", "50")
    assert longest_wait(site, lambda: ready(site) == 3) < 1


def test_88o_a_startup_that_fails_after_sighup_replaces_nobody(journal_site):
    site = journal_site("good", "--workers", "2")
    until(lambda: ready(site) == 2, "both")
    broken = site.journal.with_name("journal.fails")
    broken.touch()
    site.process.signal(signal.SIGHUP)
    site.wait_log("the workers are not replaced")
    assert "the database is away" in site.log()
    assert site.get("/").status == 200
    assert "shutdown" not in site.lines()
    broken.unlink()
    site.process.signal(signal.SIGHUP)
    site.wait_log("all workers are replaced")
    assert ready(site) == 4 and site.get("/").status == 200


def test_88p_a_spent_process_serves_until_another_one_starts(journal_site):
    site = journal_site("good", "--max-requests", "3")
    broken = site.journal.with_name("journal.fails")
    broken.touch()
    for _ in range(5):
        assert site.get("/").status == 200
    until(lambda: site.log().count("; the one before goes on") > 2, "the third attempt")
    assert site.get("/").status == 200
    assert "shutdown" not in site.lines()
    broken.unlink()
    until(lambda: ready(site) == 2, "the next process")
    assert site.get("/").status == 200


@pytest.fixture
def waiting_site(journal_site):
    """waiting_site(how, options...): a site and a connection; its process answers there in 4 seconds, and
    the next one waits for that."""
    with contextlib.ExitStack() as stack:

        def make(how, *options):
            site = journal_site(how, *options, "--log-level", "debug")
            connection = stack.enter_context(site.connect())
            connection.request("GET", "/?4")
            until(lambda: "request" in site.lines(), "the request")
            site.process.signal(signal.SIGHUP)
            site.wait_log("ready -> stopping")
            assert site.lines().count("started") == 2 and "answered" not in site.lines()
            return site, connection

        yield make


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_88q_a_stop_shuts_down_who_serves_and_who_waits(waiting_site, loop):
    site, connection = waiting_site("good", "--loop", loop)
    os.kill(app_master(site.process), signal.SIGTERM)
    until(lambda: "shutdown" in site.lines(), "the shutdown of the one that waits")
    assert "answered" not in site.lines()
    until(lambda: re.search(r"the dropped process \(pid \d+\) exited with code 0", site.log()))
    assert connection.response().body == b"['ready']"
    until(lambda: site.lines().count("shutdown") == 2, "the shutdown of the one that served")


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_88r_tasks_run_while_their_process_waits_and_may_stop_the_loop(waiting_site, loop):
    site, connection = waiting_site("ticks", "--loop", loop)
    waiting = [line.split()[-1] for line in site.lines() if "lifespan.startup" in line][1]
    until(lambda: site.lines().count(f"tick {waiting}") > 12, "its ticks")
    assert "answered" not in site.lines() and ready(site) == 1
    assert connection.response().body == b"['ready']"
    until(lambda: ready(site) == 2, "the next process")
    assert site.get("/").body == b"['ready']"
    assert site.process.stop() == 0
    assert site.lines().count("shutdown") == 2


def test_88s_a_startup_that_fails_ends_whatever_thread_it_left(journal_site):
    site = journal_site("good")
    site.journal.with_name("journal.fails").write_text("thread")
    site.process.signal(signal.SIGHUP)
    until(lambda: "the workers are not replaced" in site.log(), "the end", patience_s=40)
    assert site.get("/").status == 200


def test_88t_the_log_says_that_a_startup_takes_long(journal_site):
    site = journal_site("good", "--env", "STARTUP_S=3", "--timeout", "1")
    site.process.signal(signal.SIGHUP)
    site.wait_log("has been starting for 1 s; no other worker is replaced until it has")
    assert ready(site) == 1
    site.wait_log("all workers are replaced")
    assert site.log().count("has been starting") == 1
