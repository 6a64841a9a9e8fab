# shellcheck shell=bash
# SPDX-License-Identifier: MIT
# To be sourced: installs Debian packages that are missing. `msgpack` stands for msgpack-c's
# development package, `python-multipart` for what FastAPI reads forms with: Debian 12 and 13 name
# them differently.

# What the programs are built from.
# shellcheck disable=SC2034 # for those who source this
BUILD_PACKAGES=(
    gcc libc6-dev cmake ninja-build pkg-config libevent-dev libzmq3-dev msgpack zlib1g-dev libssl-dev
    libcyaml-dev libyaml-dev libjansson-dev libncurses-dev libsystemd-dev
    python3 python3-dev
)

package_is_installed() {
    case $1 in
    pkg-config) command -v pkg-config >/dev/null ;; # pkgconf provides it as well
    msgpack) package_is_installed libmsgpack-dev || package_is_installed libmsgpack-c-dev ;;
    python-multipart) # a python3-multipart without this module is another library
        package_is_installed python3-python-multipart ||
            /usr/bin/python3 -c "import multipart.multipart" 2>/dev/null
        ;;
    *) [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ] ;;
    esac
}

run_as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        echo "packages are missing: run this once as root, or install sudo" >&2
        return 1
    fi
}

# package_first NAME...: the first of them that this distribution has
package_first() {
    local name
    for name in "$@"; do
        if apt-cache show "$name" >/dev/null 2>&1; then
            echo "$name"
            return
        fi
    done
}

# packages_install PACKAGE...
packages_install() {
    local package missing=()
    for package in "$@"; do
        package_is_installed "$package" || missing+=("$package")
    done
    if [ ${#missing[@]} -eq 0 ]; then
        return
    fi
    printf '\n== installing %s\n' "${missing[*]}"
    run_as_root apt-get update -q
    for package in "${!missing[@]}"; do
        case ${missing[package]} in
        msgpack) missing[package]=$(package_first libmsgpack-c-dev libmsgpack-dev) ;;
        python-multipart)
            missing[package]=$(package_first python3-python-multipart python3-multipart)
            ;;
        esac
    done
    run_as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -q -y --no-install-recommends "${missing[@]}"
}
