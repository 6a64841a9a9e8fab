#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The walls of the tree: who may include whom, which file may know which library, how
long a file may be, which functions nobody calls, and that links lead somewhere.

    tests/lint/check_layers.py [--headers]

--headers also compiles every header alone (needs cc and the libraries' headers).
"""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MAX_LINES = 600

# The first row whose pattern matches a file decides: it may include files whose path
# from the root matches one of the patterns.
INCLUDES = [
    (r"protocol/base/", [r"protocol/base/"]),
    (
        r"protocol/(frame|hello|header_names|window)",
        [r"protocol/(base/|frame|hello|header_names|window|page\.h)"],
    ),
    (r"protocol/", [r"protocol/"]),
    (
        r"proxy/http/(chars|parse|body|rules|hop|respond|status|address|utf8|ws_\w+)\.",
        [
            r"protocol/(base/|header_names|frame)",
            r"proxy/http/(chars|parse|body|rules|hop|respond|status|address|utf8|ws_\w+)\.",
        ],
    ),
    (r"proxy/http/", [r"protocol/", r"proxy/http/", r"proxy/(deadline|stats|turn)\."]),
    (
        r"proxy/upstream/",
        [r"protocol/", r"proxy/upstream/", r"proxy/(deadline|stats|turn|waker)\."],
    ),
    (r"proxy/", [r"protocol/", r"proxy/"]),
    (r"appserver/core/", [r"protocol/", r"appserver/core/"]),
    (
        r"appserver/(interp|wsgi|asgi)/",
        [
            r"protocol/",
            r"appserver/(core|interp|wsgi|asgi)/",
            r"appserver/(master|options)\.h",
        ],
    ),
    (r"appserver/main\.c", [r"protocol/base/", r"appserver/"]),
    (r"appserver/(herald|options)", [r"protocol/", r"appserver/[a-z_]+\.h"]),
    (r"appserver/", [r"protocol/(base/|link\.h|keys\.h)", r"appserver/[a-z_]+\.h"]),
    # The table of verbs, and nothing else of the proxy.
    (r"deploy/banyan/completion\.c", [r"protocol/", r"deploy/", r"proxy/admin/verbs\.def"]),
    (r"deploy/", [r"protocol/", r"deploy/"]),
    (r"tests/", [r""]),
]

# A library and the only places that know it.
LIBRARIES = [
    (r"Python\.h$", r"appserver/(interp|wsgi|asgi)/|tests/"),
    (r"zmq\.h$", r"protocol/(link|zap|key\.c)|tests/"),
    (r"msgpack", r"protocol/(hello|frame)|tests/"),
    (
        r"event2/",
        r"proxy/(?!http/(chars|parse|body|rules|hop|respond|status|address|utf8|ws_\w+)\.)"
        r"|tests/",
    ),
    (r"zlib\.h$", r"proxy/http/ws_deflate|tests/"),
    (r"openssl/", r"proxy/http/ws_handshake|tests/"),
    (r"cyaml\.h$", r"proxy/config/raw|tests/"),
    (r"^yaml\.h$", r"proxy/config/marks|tests/"),
    (r"jansson\.h$", r"deploy/banyan/(top_table|completion)\.|tests/"),
    (r"curses\.h$", r"deploy/banyan/top_screen|tests/"),
    (r"systemd/", r"proxy/inherited|protocol/base/notify|tests/"),
    (r"cmocka\.h$", r"tests/"),
]

BANNED = re.compile(
    r"\b(strcpy|strcat|sprintf|vsprintf|stpcpy|gets|atoi|atol|atoll|atof|sscanf|"
    r"alloca|tmpnam|mktemp)\s*\("
)

# Sources without a test_<noun>.c of their own, and what tests them instead.
TESTED_BY = {
    r".*/main\.c": "tests/integration",
    r"appserver/(interp|wsgi|asgi)/.*": "tests/integration",
    r"appserver/child\.c": "tests/unit/appserver/test_master.c",
    r"appserver/roll\.c": "tests/unit/appserver/test_master_roll.c",
    r"(appserver|proxy)/identity\.c": "tests/integration/test_keys.py",
    r"appserver/core/(inbox|reader|watch)\.c": "tests/unit/appserver/core",
    r"deploy/banyan/(admin|talk)\.c": "tests/integration/test_admin.py",
    r"deploy/banyan/channel\.c": "tests/integration/test_remote.py",
    r"deploy/banyan/(commands|completion)\.c": "tests/integration/test_completion.py",
    r"deploy/banyan/(top|top_screen)\.c": "tests/integration/test_top.py",
    r"proxy/admin/verbs\.c": "tests/unit/proxy/admin/test_command.c",
    r"proxy/admin/(add|admin|change|client|config|diff|edit|listen|metrics|metrics_page|names|operation|pause|register|remote|run|server|show|show_backends|show_clients|target|show_requests|wait)\.c": (
        "tests/integration/test_admin.py"
    ),
    r"deploy/banyan/keygen\.c": "tests/integration/test_keys.py",
    r"deploy/banyan/serve\.c": "tests/integration/test_serve.py",
    r"proxy/(answer|edge|exchange_state|turn)\.c": "tests/unit/proxy/test_exchange.c",
    r"proxy/http/clients\.c": "tests/unit/proxy/http/test_client.c",
    r"proxy/predecessor\.c": "tests/unit/proxy/test_successor.c",
    r"proxy/admin/upgrade\.c": "tests/integration/test_upgrade.py",
    r"proxy/http/listener\.c": "tests/integration",
}

problems = []


def complain(path, line, text):
    problems.append(f"{path}:{line}: {text}")


def files(suffixes, below=""):
    """Paths from the root, sorted; what builds and tests leave behind is not ours."""
    out = []
    for folder, folders, names in os.walk(ROOT / below):
        folders[:] = [
            f
            for f in folders
            if f not in {"build", "__pycache__", "node_modules"} and f[0] != "."
        ]
        out += [
            str((Path(folder) / n).relative_to(ROOT))
            for n in names
            if n.endswith(suffixes)
        ]
    return sorted(out)


def strip(text):
    """The code without comments and strings, line by line as before."""

    def blank(match):
        return re.sub(r"[^\n]", " ", match.group(0))

    return re.sub(
        r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'',
        blank,
        text,
        flags=re.S,
    )


def check_includes(path, text):
    allowed = next((to for pattern, to in INCLUDES if re.match(pattern, path)), None)
    if allowed is None:
        complain(path, 1, "no row of INCLUDES knows this folder")
        return
    for number, line in enumerate(text.splitlines(), 1):
        own = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
        if own:
            target = own.group(1)
            if not (ROOT / target).is_file():
                complain(
                    path,
                    number,
                    f"{target} is no file; includes are named from the root",
                )
            elif not any(re.match(pattern, target) for pattern in allowed):
                complain(path, number, f"must not include {target}")
        library = re.match(r"\s*#\s*include\s+<([^>]+)>", line)
        for pattern, places in LIBRARIES:
            if (
                library
                and re.match(pattern, library.group(1))
                and not re.match(places, path)
            ):
                complain(path, number, f"must not know <{library.group(1)}>")


def check_source(path):
    text = (ROOT / path).read_text()
    lines = text.splitlines()
    check_includes(path, text)
    if len(lines) > MAX_LINES:
        complain(
            path,
            len(lines),
            f"{len(lines)} lines; find the second noun (at most {MAX_LINES})",
        )
    if not lines or "SPDX-License-Identifier: MIT" not in lines[0]:
        if not path.endswith(".def"):
            complain(path, 1, "the first line names no license")
    if path.startswith("tests/"):
        return
    for number, line in enumerate(strip(text).splitlines(), 1):
        for match in BANNED.finditer(line):
            complain(path, number, f"{match.group(1)} is banned")


def check_mirror(path):
    if any(re.fullmatch(pattern, path) for pattern in TESTED_BY):
        return
    folder, noun = path.rsplit("/", 1)
    noun = noun[:-2]
    # x_y.c may be tested together with x.c, whose noun it is a part of.
    while True:
        if (ROOT / f"tests/unit/{folder}/test_{noun}.c").is_file():
            return
        if "_" not in noun:
            complain(
                path, 1, f"has no tests/unit/{folder}/test_{path.rsplit('/', 1)[1]}"
            )
            return
        noun = noun.rsplit("_", 1)[0]


def check_registered(tests):
    """A loop of CMake may name the nouns only: `foreach(noun a b) ... test_${noun}`."""
    lists = "\n".join(
        (ROOT / path).read_text() for path in files(".cmake", "tests/unit")
    )
    for path in tests:
        name = Path(path).stem
        folder = str(Path(path).parent).removeprefix("tests/unit/")
        whole = re.search(rf"\b{folder}/{name}\b", lists)
        looped = f"{folder}/test_${{noun}}" in lists and re.search(
            rf"foreach\(noun [^)]*\b{name.removeprefix('test_')}\b", lists
        )
        if not whole and not looped:
            complain(path, 1, "is in no tests/unit/*.cmake: nobody runs it")


def check_links(path):
    text = (ROOT / path).read_text()
    fenced = False
    for number, line in enumerate(text.splitlines(), 1):
        fenced ^= line.lstrip().startswith("```")
        if fenced:
            continue
        for target in re.findall(r"\]\(([^)\s]+)\)", line):
            if re.match(r"[a-z]+:", target) or target.startswith("#"):
                continue
            if not ((ROOT / path).parent / target.split("#")[0]).exists():
                complain(path, number, f"{target} does not exist")


def flags(*packages):
    out = []
    for package in packages:
        found = subprocess.run(
            ["pkg-config", "--cflags", package], capture_output=True, text=True
        )
        out += found.stdout.split()
    return out


def check_headers(headers):
    common = [
        "cc",
        "-std=gnu17",
        "-fsyntax-only",
        "-x",
        "c",
        "-D_GNU_SOURCE",
        '-DBANYAN_VERSION="x"',
        "-Wall",
        "-Wextra",
        "-Werror",
        f"-I{ROOT}",
        *flags("libevent_core", "libzmq", "msgpack-c", "msgpack", "cmocka", "python3"),
    ]
    for path in headers:
        if path.startswith("tests/"):
            continue
        source = f'#include "{path}"\n#include "{path}"\ntypedef int something;\n'
        if re.match(r"appserver/(interp|wsgi|asgi)/", path):
            source = "#include <Python.h>\n" + source
        done = subprocess.run(
            [*common, "-"], input=source, capture_output=True, text=True, cwd=ROOT
        )
        if done.returncode != 0:
            complain(path, 1, "does not compile alone:\n" + done.stderr.strip())


def main():
    sources = files((".c", ".h", ".def"))
    for path in sources:
        check_source(path)
    for path in sources:
        if path.endswith(".c") and not path.startswith("tests/"):
            check_mirror(path)
    for path in TESTED_BY.values():
        if not (ROOT / path).exists():
            complain("tests/lint/check_layers.py", 1, f"{path} does not exist")
    check_registered([p for p in files(".c", "tests/unit") if "/test_" in p])
    for path in files(".md"):
        check_links(path)
    if "--headers" in sys.argv[1:]:
        check_headers([path for path in sources if path.endswith(".h")])
    for problem in problems:
        print(problem)
    print(f"{len(sources)} sources, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
