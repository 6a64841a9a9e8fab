#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes the seeds of a fuzzer into a directory, one file per case.

make_seeds.py frames DIR      tests/cases/frames/**/*.hex, as bytes
make_seeds.py http_parse DIR  tests/cases/http/*.http, behind the byte of options that
                            fuzz_http_parse takes first
make_seeds.py http_body DIR   what follows their heads, behind the two bytes of
                            fuzz_http_body
make_seeds.py ws_frame DIR    frames of a WebSocket client, behind the two bytes of
                            fuzz_ws_frame
"""

import pathlib
import struct
import sys
import zlib

CASES = pathlib.Path(__file__).resolve().parent.parent / "cases"


def frames():
    for path in sorted((CASES / "frames").rglob("*.hex")):
        lines = path.read_text(encoding="ascii").splitlines()
        data = "".join(line for line in lines if not line.startswith("#"))
        name = path.relative_to(CASES / "frames").with_suffix("")
        yield "-".join(name.parts), bytes.fromhex(data)


def http_cases():
    sys.path.insert(0, str(CASES))
    import http_cases

    return [case for case in http_cases.every_case() if len(case.data) <= 65536]


def http_parse():
    for case in http_cases():
        options = ("lenient" in case.options) | ("trusted" in case.options) << 3
        yield case.name, bytes([options]) + case.data


def http_body():
    for case in http_cases():
        _, end, body = case.data.partition(b"\r\n\r\n")
        if end and body:
            yield case.name, b"\x00\x33" + body


def ws_client_frame(first, data=b"", code=None):
    size = len(data) if code is None else code
    head = bytes([first, 0x80 | size]) if size < 126 else b""
    if 126 <= size < 65536:
        head = struct.pack("!BBH", first, 0xFE, size)
    elif size >= 65536:
        head = struct.pack("!BBQ", first, 0xFF, size)
    mask = b"\x37\xfa\x21\x3d"
    return head + mask + bytes(b ^ mask[i & 3] for i, b in enumerate(data))


def ws_deflated(data):
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return (packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]


def ws_frame():
    f, packed = ws_client_frame, ws_deflated(b"abcabcabc" * 30)
    cases = {
        "text": f(0x81, b"Hello"),
        "utf8": f(0x81, "κόσμε \U0001f600".encode()),
        "bad-utf8": f(0x81, b"a\xed\xa0\x80"),
        "binary": f(0x82, bytes(range(256))),
        "empty": f(0x81) + f(0x82),
        "fragments": f(0x01, b"He") + f(0x89, b"p") + f(0x00, b"l") + f(0x80, b"lo"),
        "ping": f(0x89, b"x" * 125) + f(0x8A),
        "close": f(0x88, b"\x03\xe8bye"),
        "close-empty": f(0x88),
        "close-code": f(0x88, b"\x03\xed"),
        "long": f(0x82, b"x" * 4096),
        "too-long": f(0x82, b"", 5000),
        "far-too-long": f(0x82, b"", 1 << 62),
        "compressed": f(0xC1, packed),
        "compressed-fragments": f(0x41, packed[:5]) + f(0x80, packed[5:]),
        "compressed-cut": f(0xC1, packed[:-3]),
        "bomb": f(0xC2, ws_deflated(bytes(5000))),
        "rsv": f(0xB1),
        "opcode": f(0x83),
        "unmasked": b"\x81\x01a",
    }
    for name, data in cases.items():
        for options in (b"\x00\xff", b"\x01\xff", b"\x01\x01"):
            yield f"{name}-{options.hex()}", options + data


def main():
    makers = {"frames": frames, "http_parse": http_parse, "http_body": http_body}
    makers["ws_frame"] = ws_frame
    if len(sys.argv) != 3 or sys.argv[1] not in makers:
        sys.exit(__doc__)
    folder = pathlib.Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in makers[sys.argv[1]]():
        (folder / name).write_bytes(data)


if __name__ == "__main__":
    main()
