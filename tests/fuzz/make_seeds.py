#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes the seeds of a fuzzer into a directory, one file per case.

make_seeds.py frames DIR      tests/cases/frames/**/*.hex, as bytes
make_seeds.py http_parse DIR  tests/cases/http/*.http, behind the byte of options that
                            fuzz_http_parse takes first
make_seeds.py http_body DIR   what follows their heads, behind the two bytes of
                            fuzz_http_body
"""

import pathlib
import sys

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


def main():
    makers = {"frames": frames, "http_parse": http_parse, "http_body": http_body}
    if len(sys.argv) != 3 or sys.argv[1] not in makers:
        sys.exit(__doc__)
    folder = pathlib.Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in makers[sys.argv[1]]():
        (folder / name).write_bytes(data)


if __name__ == "__main__":
    main()
