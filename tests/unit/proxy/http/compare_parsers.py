# SPDX-License-Identifier: MIT
"""Compares our HTTP/1 parser with two others, h11 and httptools, on the corpus of
tests/cases/http and on mutations of it.

What we accept, the others must accept and read the same way: method, target, fields,
body, and where the next request starts. KNOWN lists the differences that are theirs.
That we refuse what another accepts is no difference.

compare_parsers.py HTTP_VERDICT [MUTATIONS [SEED]]; exits with 77 when neither parser is
installed.
"""

import pathlib
import random
import re
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[3] / "cases"))

import http_cases

try:
    import h11
except ImportError:
    h11 = None
try:
    import httptools
except ImportError:
    httptools = None


class Ours:
    name = "ours"

    def __init__(self, program):
        self._child = subprocess.Popen(
            [program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def judge(self, data):
        self._child.stdin.write(b"%d\n" % len(data) + data)
        self._child.stdin.flush()
        words = self._child.stdout.readline().decode().split()
        if words[0] != "ok":
            return " ".join(words)
        minor, used = words[1], int(words[5])
        method, target, body = map(from_hex, words[2:5])
        pairs = [from_hex(word) for word in words[6:]]
        fields = [(n.lower(), v) for n, v in zip(pairs[::2], pairs[1::2])]
        return (minor, method, target, body, used, fields)

    def close(self):
        self._child.stdin.close()
        assert self._child.wait(10) == 0


def from_hex(word):
    return b"" if word == "-" else bytes.fromhex(word)


class H11:
    name = "h11"

    def judge(self, data):
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
        connection.receive_data(data)
        request, body = None, b""
        try:
            while True:
                event = connection.next_event()
                if event is h11.NEED_DATA:
                    return "more"
                if isinstance(event, h11.Request):
                    request = event
                elif isinstance(event, h11.Data):
                    body += bytes(event.data)
                elif isinstance(event, h11.EndOfMessage):
                    break
        except h11.RemoteProtocolError as error:
            return f"bad {error}"
        used = len(data) - len(connection.trailing_data[0])
        fields = [(bytes(n), bytes(v)) for n, v in request.headers]
        minor = request.http_version.decode()[2:]
        return (minor, request.method, request.target, body, used, fields)


class Httptools:
    name = "httptools"

    def judge(self, data):
        protocol = _Recorder()
        parser = httptools.HttpRequestParser(protocol)
        protocol.parser = parser
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass
        except httptools.HttpParserError as error:
            if protocol.complete is None:
                return f"bad {type(error).__name__} {error}"
        return "more" if protocol.complete is None else protocol.complete


class _Recorder:
    """Takes the first request down; where it ends is not told."""

    def __init__(self):
        self.parser, self.complete = None, None
        self.target, self.body, self.fields = b"", b"", []
        self.method = self.minor = None

    def on_url(self, url):
        self.target += url

    def on_header(self, name, value):
        self.fields.append((name.lower(), value))

    def on_headers_complete(self):
        if self.method is None:
            self.method = self.parser.get_method()
            self.minor = self.parser.get_http_version()[2:]
            self.head_fields = list(self.fields)

    def on_body(self, body):
        if self.complete is None:
            self.body += body

    def on_message_complete(self):
        if self.complete is None:
            self.complete = (
                self.minor,
                self.method,
                self.target,
                self.body,
                None,
                self.head_fields,
            )


# (start of what it says, what the input must match): differences that are theirs.
_TRAILER = rb".*\r\n\r\n.*\r\n"
KNOWN = {
    "h11": [
        # Takes no empty line before a request.
        ("bad no request line received", rb"\r\n"),
        # Trailers go through the rules of a head's fields, whose framing they cannot
        # change.
        ("bad Only Transfer-Encoding: chunked", _TRAILER + rb"transfer-encoding:"),
        ("bad bad Content-Length", _TRAILER + rb"content-length:"),
    ],
    "httptools": [
        # Knows a list of methods and of versions.
        ("bad HttpParserInvalidMethodError", rb""),
        ("bad HttpParserError Invalid method", rb""),
        ("bad HttpParserError Invalid HTTP version", rb".* http/1\.[2-9]\r"),
        # Trailers, as above.
        ("bad HttpParserError", _TRAILER + rb"(transfer-encoding|content-length):"),
        # Blanks behind a Content-Length.
        ("bad HttpParserError invalid character in cont", rb".*:[^\r]*[ \t]\r"),
        # Reads any name that begins so as this field.
        ("bad HttpParserError request has inval", rb".*\ntransfer-encoding[^:\r]"),
        # Blanks in extensions; quoted strings in some versions.
        ("bad HttpParserError Invalid char", rb".*\n[0-9a-f]+;[^\r]*[ \t\"]"),
        # Stops at an upgrade, whatever to.
        ("body", rb".*\nupgrade:"),
        ("more", rb".*\nupgrade:"),
    ],
}


def is_known(other, what, data):
    return any(
        what.startswith(start) and re.match(pattern, data, re.DOTALL | re.IGNORECASE)
        for start, pattern in KNOWN[other.name]
    )


def difference(mine, other, verdict, data):
    """What the two disagree about, or None."""
    what = None
    if mine == "more" and isinstance(verdict, tuple):
        what = "more: we wait for more"
    elif isinstance(mine, tuple) and isinstance(verdict, tuple):
        names = ("minor", "method", "target", "body", "used", "fields")
        for name, ours, theirs in zip(names, mine, verdict):
            if not same(name, ours, theirs):
                what = f"{name}: {ours!r}, not {theirs!r}"
                break
    elif isinstance(mine, tuple):
        what = verdict
    return None if what is None or is_known(other, what, data) else what


def same(name, ours, theirs):
    if name == "minor":
        return ours == theirs or theirs not in "01"  # a later 1.x is 1.1 to us
    if name == "fields":
        # httptools keeps blanks behind a value, h11 lowers this one.
        theirs = [(n, v.rstrip(b" \t")) for n, v in theirs]
        ours = [(n, v.lower() if n == b"transfer-encoding" else v) for n, v in ours]
        theirs = [(n, v.lower() if n == b"transfer-encoding" else v) for n, v in theirs]
    return theirs is None or ours == theirs


SPICE = [
    *(bytes([b]) for b in b"\0\t\n\v\f\r \"#%,-./09:;=?@AZ[\\]_az{|}~\x7f\x80\xff"),
    b"\r\n",
    b"\r\n\r\n",
    b"\r\n ",
    b"Content-Length: 3\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Connection: close\r\n",
    b"0\r\n\r\n",
    b"3\r\nabc\r\n",
    b"HTTP/1.0",
    b";a=b",
]


def mutate(rng, data):
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        at = rng.randrange(len(data) + 1)
        kind = rng.randrange(5)
        if kind == 0:
            data[at:at] = rng.choice(SPICE)
        elif kind == 1:
            data[at : at + 1] = rng.choice(SPICE)
        elif kind == 2:
            del data[at : at + rng.randrange(1, 4)]
        elif kind == 3:
            end = at + rng.randrange(1, 30)
            data[at:at] = data[at:end]
        else:
            data[at : at + 1] = bytes([rng.randrange(256)])
    return bytes(data)


def main():
    if h11 is None and httptools is None:
        print("neither h11 nor httptools is installed")
        sys.exit(77)
    others = [H11()] * (h11 is not None) + [Httptools()] * (httptools is not None)
    mutations = int(sys.argv[2]) if len(sys.argv) > 2 else 5000
    rng = random.Random(int(sys.argv[3]) if len(sys.argv) > 3 else 1)
    ours = Ours(sys.argv[1])
    cases = [c for c in http_cases.every_case() if not c.options]
    inputs = [(c.name, c.data) for c in cases]
    seeds = [c for c in cases if len(c.data) < 2000]
    seeds += 3 * [c for c in seeds if c.outcomes[0] == "ok"]
    for number in range(mutations):
        case = rng.choice(seeds)
        inputs.append((f"{case.name}, mutation {number}", mutate(rng, case.data)))

    accepted = failures = 0
    for name, data in inputs:
        mine = ours.judge(data)
        accepted += isinstance(mine, tuple)
        for other in others:
            what = difference(mine, other, other.judge(data), data)
            if what is not None:
                failures += 1
                print(f"{name}: {other.name}: {what}\n    {data[:600]!r}")
    ours.close()
    print(f"{len(inputs)} inputs, {accepted} accepted, {failures} differences")
    sys.exit(failures > 0)


if __name__ == "__main__":
    main()
