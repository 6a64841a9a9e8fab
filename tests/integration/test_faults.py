# SPDX-License-Identifier: MIT
"""What breaks, breaks alone: processes killed under load, large bodies, slow clients."""

import hashlib
import os
import signal
import socket
import subprocess
import threading
import time

import pytest
import requests
from conftest import HERE, until

APPS = str(HERE / "apps")
MIB = 1 << 20
# AddressSanitizer keeps freed memory for a while.
LIMIT_MIB = 640 if os.environ.get("BANYAN_PRESET") == "asan" else 64


def wrk(url, seconds, connections=32):
    return subprocess.Popen(["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", url],
                            stdout=subprocess.PIPE, text=True)


def wrk_errors(process):
    """(requests, lines of wrk's report that speak of errors)"""
    out = process.communicate(timeout=120)[0]
    bad = [line.strip() for line in out.splitlines() if "Non-2xx" in line or "Socket errors" in line]
    return int(out.split(" requests in")[0].split()[-1]), bad


def peak_mib(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmHWM")) / 1024


def test_killed_workers_under_get_load_fail_no_request(site_of):
    site = site_of("faults:app", "--chdir", APPS, "--workers", "2", "--threads", "8")
    load = wrk(site.url + "/", 6)
    for _ in range(4):
        time.sleep(1.2)
        os.kill(site.workers()[0], signal.SIGKILL)
    done, errors = wrk_errors(load)
    assert errors == [] and done > 1000
    site.wait_log("was killed by SIGKILL")


def test_killed_proxy_comes_back_and_nothing_stale_is_replayed(site_of, tmp_path):
    journal = tmp_path / "journal"
    site = site_of("faults:app", "--chdir", APPS, "--workers", "1", "--threads", "1",
                 "--env", f"JOURNAL={journal}")
    first = socket.create_connection(("127.0.0.1", site.port))
    first.sendall(b"POST /slow?first HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
    until(journal.exists, "the first request")
    waiting = [socket.create_connection(("127.0.0.1", site.port)) for _ in range(5)]
    for n, s in enumerate(waiting):
        s.sendall(b"POST /slow?waits%d HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n" % n)
    time.sleep(0.3)
    os.kill(site.proxy(), signal.SIGKILL)
    deadline = time.monotonic() + 30
    while True:
        try:
            assert requests.get(site.url + "/", timeout=5).text == "ok"
            break
        except requests.ConnectionError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    time.sleep(1.5)
    assert journal.read_text().split() == ["first"]


@pytest.fixture(scope="module")
def bodies(module_site_of):
    return module_site_of("faults:app", "--chdir", APPS, "--workers", "1", "--threads", "2")


def all_pids(site):
    return [site.proxy(), *site.workers()]


def test_upload_of_one_gibibyte_stays_small(bodies):
    piece = os.urandom(MIB)
    digest = hashlib.sha256()

    def pieces():
        for _ in range(1024):
            digest.update(piece)
            yield piece

    class Sized:
        def __len__(self):
            return 1024 * MIB

        def __iter__(self):
            return pieces()

    got = requests.post(bodies.url + "/upload", data=Sized(), timeout=300)
    assert got.text == f"{1024 * MIB} {digest.hexdigest()}"
    assert max(map(peak_mib, all_pids(bodies))) <= LIMIT_MIB


def test_chunked_upload_stays_small(bodies):
    piece = b"x" * MIB
    got = requests.post(bodies.url + "/upload", data=(piece for _ in range(256)), timeout=120)
    assert got.text.split()[0] == str(256 * MIB)
    assert max(map(peak_mib, all_pids(bodies))) <= LIMIT_MIB


def test_download_of_one_gibibyte_stays_small(bodies):
    with requests.get(bodies.url + "/download?1024", stream=True, timeout=300) as got:
        total = sum(len(piece) for piece in got.iter_content(MIB))
    assert total == 1024 * MIB
    assert max(map(peak_mib, all_pids(bodies))) <= LIMIT_MIB


def test_slow_reader_makes_the_application_wait(bodies):
    """A client of 1 MiB/s: the application is held back, nothing piles up in between."""
    with socket.create_connection(("127.0.0.1", bodies.port)) as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        s.sendall(b"GET /download?1024 HTTP/1.1\r\nHost: x\r\n\r\n")
        got = 0
        for _ in range(40):
            end = got + MIB // 10
            while got < end:
                got += len(s.recv(65536))
            time.sleep(0.1)
        produced = int(requests.get(bodies.url + "/produced").text)
    assert produced - got < 16 * MIB
    assert max(map(peak_mib, all_pids(bodies))) <= LIMIT_MIB


def test_slow_upload_occupies_no_worker_thread(site_of):
    site = site_of("faults:app", "--chdir", APPS, "--workers", "1", "--threads", "1")
    with socket.create_connection(("127.0.0.1", site.port)) as s:
        size = 4 * MIB
        s.sendall(b"POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size)
        sent = 0
        while sent < size:
            s.sendall(b"x" * (MIB // 4))
            sent += MIB // 4
            assert requests.get(site.url + "/", timeout=20).text == "ok"
            time.sleep(0.05)
        assert b" 200 " in s.recv(65536)


def test_client_that_leaves_while_queued_never_reaches_the_application(site_of, tmp_path):
    journal = tmp_path / "journal"
    site = site_of("faults:app", "--chdir", APPS, "--workers", "1", "--threads", "1",
                 "--edge-threads", "1",
                 "--env", f"JOURNAL={journal}")
    # Known as slow, it gets no request ahead of its only thread.
    assert requests.post(site.url + "/slow?first").status_code == 200
    busy = threading.Thread(target=requests.post, args=(site.url + "/slow?second",))
    busy.start()
    until(lambda: "second" in journal.read_text(), "the second request")
    for _ in range(10):
        with socket.create_connection(("127.0.0.1", site.port)) as s:
            s.sendall(b"POST /slow?left HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
            time.sleep(0.02)
    busy.join()
    time.sleep(0.5)
    assert journal.read_text().split() == ["first", "second"]
