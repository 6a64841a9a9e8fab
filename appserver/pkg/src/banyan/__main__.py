# SPDX-License-Identifier: MIT
"""`python -m banyan`: the app server inside this interpreter."""

import pathlib
import sys


def explain(error):
    """Why the extension module cannot be imported, and what to do."""
    here = pathlib.Path(__file__).parent
    built = sorted(path.name.split(".")[1] for path in here.glob("_core.*.so"))
    if not built:
        return f"banyan: {here} has no _core module: the build is incomplete"
    if any(abi.startswith(f"{sys.implementation.cache_tag}-") for abi in built):
        return f"banyan: cannot load {here}/_core: {error}"
    return (
        f"banyan: built for {' and '.join(map(version_of, built))}, but {sys.executable}"
        f" is {version_of(sys.implementation.cache_tag)}: name a matching interpreter"
        " with --python, run with --embedded, or build with"
        f" -DBANYAN_PYTHON={sys.executable}"
    )


def version_of(abi):
    """cpython-311-x86_64-linux-gnu -> CPython 3.11"""
    name, digits = abi.split("-")[:2]
    return f"{name.replace('cpython', 'CPython')} {digits[0]}.{digits[1:]}"


def main():
    try:
        from banyan import _core
    except ImportError as error:
        sys.exit(explain(error))
    sys.exit(_core.main(["banyan-app", *sys.argv[1:]]))


if __name__ == "__main__":
    main()
