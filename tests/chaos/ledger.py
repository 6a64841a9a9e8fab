# SPDX-License-Identifier: MIT
"""What a load generator wrote down, and what it means."""

import collections
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
STOP_S = 60  # more than the generator waits for an answer


class Request(NamedTuple):
    begin: float
    end: float
    method: str
    status: int
    who: str
    version: str
    key: str
    note: str

    @property
    def failed(self):
        return self.status != 200


class Ledger:
    def __init__(self, requests):
        self.requests = sorted(requests, key=lambda r: r.end)

    @classmethod
    def read(cls, path):
        found = []
        for line in path.read_text().splitlines():
            words = line.split("\t")
            found.append(Request(float(words[0]), float(words[1]), words[2], int(words[3]), *words[4:]))
        return cls(found)

    def __len__(self):
        return len(self.requests)

    @property
    def failures(self):
        return [r for r in self.requests if r.failed]

    def acknowledged(self):
        return [r.key for r in self.requests if r.method == "POST" and not r.failed]

    def between(self, start, end):
        """Those that were answered in this time."""
        return Ledger([r for r in self.requests if start <= r.end < end])

    def rate(self, start, end):
        return sum(not r.failed for r in self.between(start, end).requests) / (end - start)

    def recovered_at(self, start, floor, window=2.0):
        """The first moment from `start` on after which a window is served at `floor`
        requests a second or more, and nobody who asked before it still waits; None: never."""
        last, at = self.requests[-1].end, start
        while at + window <= last:
            if self.rate(at, at + window) >= floor and not self.waiting(at, start):
                return at
            at += window / 20
        return None

    def waiting(self, at, since):
        """Those that asked before `since`, and that nobody answered until `at`."""
        return [r for r in self.requests if r.begin < since <= at < r.end]

    def first_from(self, who, start):
        """When somebody of this name first answered, from `start` on."""
        return next((r.end for r in self.requests if r.begin >= start and r.who.startswith(who)), None)

    def slowest(self):
        return max((r.end - r.begin for r in self.requests), default=0)

    def resent(self):
        return sum(r.note == "resent" for r in self.requests)

    def blame(self, most=5):
        """The failures in a few words."""
        kinds = collections.Counter((r.method, r.status, r.note) for r in self.failures)
        return "; ".join(f"{n} {m} {s} {note}" for (m, s, note), n in kinds.most_common(most))


class Load:
    """A running generator; a context manager. `prefix` runs it somewhere else."""

    def __init__(self, to, prefix=(), connections=16, every=0.05, posts=0.0):
        self.folder = tempfile.TemporaryDirectory(prefix="banyan-load-")
        self.out = Path(self.folder.name) / "requests"
        words = [*prefix, sys.executable, HERE / "load.py", "--to", to, "--out", self.out]
        words += ["--connections", connections, "--every", every, "--posts", posts]
        self.process = subprocess.Popen([str(w) for w in words], stdin=subprocess.PIPE, text=True)

    def __enter__(self):
        return self

    def retarget(self, to):
        self.process.stdin.write(f"to {to}\n")
        self.process.stdin.flush()

    def count(self):
        """How many requests were written down, or a few less."""
        return self.out.read_bytes().count(b"\n") if self.out.exists() else 0

    def stop(self):
        """Its Ledger, when every request is answered."""
        if self.process.poll() is None:
            self.process.communicate("stop\n", timeout=STOP_S)
        if self.process.returncode != 0:
            raise RuntimeError(f"the load generator ended with {self.process.returncode}")
        return Ledger.read(self.out)

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process.stdin.close()
        self.folder.cleanup()
