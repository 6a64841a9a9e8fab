#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A cable that delays and loses packets, where the kernel has no netem.

    wire.py ROUTER-NAMESPACE HOST-NAMESPACE HOST-ADDRESS DELAY-MS LOSS-PERCENT

A tun device in each of the two namespaces; the routes lead through them, this process carries
packets between them. Says `ready` and runs until it is killed.
"""

import ctypes
import fcntl
import heapq
import itertools
import os
import random
import select
import struct
import subprocess
import sys
import time

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
CLONE_NEWNET = 0x40000000
NAME = "slow0"


def enter(fd):
    """This thread's network is that namespace's."""
    if ctypes.CDLL(None, use_errno=True).setns(fd, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def ip(*words):
    subprocess.run(["ip", *words], check=True)


def open_tun(namespace):
    enter(os.open(f"/run/netns/{namespace}", os.O_RDONLY))
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", NAME.encode(), IFF_TUN | IFF_NO_PI))
    ip("link", "set", NAME, "mtu", "1400", "up")
    return fd


def main():
    router, host, address = sys.argv[1:4]
    delay_s, loss = float(sys.argv[4]) / 1000, float(sys.argv[5]) / 100
    at_router = open_tun(router)
    ip("route", "add", f"{address}/32", "dev", NAME)
    at_host = open_tun(host)
    ip("route", "replace", "default", "dev", NAME, "src", address)
    print("ready", flush=True)

    other = {at_router: at_host, at_host: at_router}
    waiting, order = [], itertools.count()
    while True:
        now = time.monotonic()
        while waiting and waiting[0][0] <= now:
            _, _, to, packet = heapq.heappop(waiting)
            try:
                os.write(to, packet)
            except BlockingIOError:
                pass  # a full queue loses packets as well
        timeout = max(0, waiting[0][0] - now) if waiting else None
        for fd in select.select(list(other), [], [], timeout)[0]:
            try:
                while packet := os.read(fd, 65536):
                    if random.random() >= loss:
                        due = time.monotonic() + delay_s
                        heapq.heappush(waiting, (due, next(order), other[fd], packet))
            except BlockingIOError:
                pass


if __name__ == "__main__":
    main()
