# shellcheck shell=bash
# SPDX-License-Identifier: MIT
# To be sourced: installs Debian packages that are missing. `msgpack` stands for msgpack-c's
# development package, which Debian 12 and 13 name differently.

# What the programs are built from.
# shellcheck disable=SC2034 # for those who source this
BUILD_PACKAGES=(
    gcc libc6-dev cmake ninja-build pkg-config libevent-dev libzmq3-dev msgpack zlib1g-dev libssl-dev
    python3 python3-dev
)

package_is_installed() {
    case $1 in
    pkg-config) command -v pkg-config >/dev/null ;; # pkgconf provides it as well
    msgpack) package_is_installed libmsgpack-dev || package_is_installed libmsgpack-c-dev ;;
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
        if [ "${missing[package]}" = msgpack ]; then
            missing[package]=libmsgpack-dev
            if apt-cache show libmsgpack-c-dev >/dev/null 2>&1; then
                missing[package]=libmsgpack-c-dev
            fi
        fi
    done
    run_as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -q -y --no-install-recommends "${missing[@]}"
}
