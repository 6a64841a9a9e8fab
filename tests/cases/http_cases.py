# SPDX-License-Identifier: MIT
"""Reads the cases of tests/cases/http (its README.md describes the format)."""

import dataclasses
import pathlib
import re

FOLDER = pathlib.Path(__file__).resolve().parent / "http"

_PLAIN = {"r": b"\r", "n": b"\n", "t": b"\t", "\\": b"\\"}
_TIMES = re.compile(r"(.*) \* (\d+)$")


@dataclasses.dataclass
class Case:
    name: str
    row: int
    comment: str
    data: bytes
    expectations: list  # of (key, value as bytes), in order

    def all(self, key):
        return [value for k, value in self.expectations if k == key]

    def get(self, key, default=None):
        values = self.all(key)
        return values[0] if values else default

    @property
    def options(self):
        return [value.decode() for value in self.all("option")]

    @property
    def outcomes(self):
        """One per request: "ok", "more" or "bad ERR"."""
        return [v.decode() for v in self.all("expect") + self.all("then")]

    @property
    def statuses(self):
        """The statuses a client gets and whether more may follow them."""
        words = self.get("status", b"").decode().split()
        may_follow = words[-1:] == ["*"]
        return [int(w) for w in words if w.isdigit()], may_follow

    @property
    def closes(self):
        """True, False, or None where either will do."""
        return {b"yes": True, b"no": False}.get(self.get("close"))

    @property
    def ends(self):
        return self.get("eof") == b"yes"


def unescape(text):
    """The bytes that a text with escapes stands for."""
    data, at = _unescape(text, 0, nested=False)
    assert at == len(text)
    return data


def _unescape(text, at, nested):
    out = bytearray()
    while at < len(text):
        c = text[at]
        if nested and c == "}":
            return bytes(out), at + 1
        if c != "\\":
            out += c.encode()
            at += 1
            continue
        kind = text[at + 1]
        if kind == "x":
            out.append(int(text[at + 2 : at + 4], 16))
            at += 4
        elif kind == "{":
            colon = text.index(":", at)
            times = int(text[at + 2 : colon])
            piece, at = _unescape(text, colon + 1, nested=True)
            out += times * piece
        else:
            out += _PLAIN[kind]
            at += 2
    if nested:
        raise ValueError("\\{ without }")
    return bytes(out), at


def parse(path):
    path = pathlib.Path(path)
    top, _, request = path.read_text(encoding="ascii").partition("\n---\n")
    comments, expectations = [], []
    for line in top.splitlines():
        if line.startswith("#"):
            comments.append(line.lstrip("# "))
            continue
        assert line.startswith("> "), f"{path}: {line!r}"
        key, _, value = line[2:].partition(":")
        value, times = value.strip(), 1
        repeated = _TIMES.match(value)
        if repeated and key == "then":
            value, times = repeated[1], int(repeated[2])
        elif repeated and key == "status":
            value = " ".join([repeated[1]] * int(repeated[2]))
        expectations += [(key, unescape(value))] * times
    return Case(
        name=path.stem,
        row=int(path.name[:3]),
        comment="\n".join(comments),
        data=unescape(request.replace("\n", "")),
        expectations=expectations,
    )


def every_case():
    return [parse(path) for path in sorted(FOLDER.glob("*.http"))]
