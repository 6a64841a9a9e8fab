# SPDX-License-Identifier: MIT
"""A name server for tests, on an address of its own in 127.0.0.0/8, and programs that ask
it: they get a mount namespace in which resolv.conf names it."""

import os
import random
import shutil
import socket
import struct
import subprocess
import threading

import pytest

NO_ERROR, SERVER_FAILED, NO_SUCH_NAME = 0, 2, 3


class NameServer(threading.Thread):
    def __init__(self, folder):
        super().__init__(daemon=True)
        self.names = {}  # name: addresses; a number: this error; None: silence
        self.questions = 0
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.address = f"127.53.{random.randrange(1, 255)}.{random.randrange(1, 255)}"
        try:
            self.socket.bind((self.address, 53))
        except PermissionError:
            pytest.skip("port 53 is for root")
        self.conf, self.switch = folder / "resolv.conf", folder / "nsswitch.conf"
        self.conf.write_text(f"nameserver {self.address}\noptions timeout:1 attempts:1\n")
        self.switch.write_text("hosts: files dns\n")
        self.start()

    def run(self):
        while True:
            try:
                question, peer = self.socket.recvfrom(4096)
            except OSError:
                return
            if not question:
                return
            answer = self.answer(question)
            if answer and self.socket.fileno() >= 0:
                self.socket.sendto(answer, peer)

    def answer(self, question):
        labels, at = [], 12
        while question[at]:
            labels.append(question[at + 1 : at + 1 + question[at]].decode())
            at += 1 + question[at]
        kind = struct.unpack_from(">H", question, at + 1)[0]
        found = self.names.get(".".join(labels), NO_SUCH_NAME)
        self.questions += 1
        if found is None:
            return None
        error = found if isinstance(found, int) else NO_ERROR
        addresses = [a for a in found if (":" in a) == (kind == 28)] if not error else []
        head = question[:2] + struct.pack(">HHHHH", 0x8180 | error, 1, len(addresses), 0, 0)
        out = head + question[12 : at + 5]
        for a in addresses:
            data = socket.inet_pton(socket.AF_INET6 if ":" in a else socket.AF_INET, a)
            out += struct.pack(">HHHIH", 0xC00C, kind, 1, 0, len(data)) + data
        return out

    def wrap(self, *argv):
        """The program, asking this server."""
        script = (
            f"mount --bind {self.conf} /etc/resolv.conf && "
            f"mount --bind {self.switch} /etc/nsswitch.conf && "
            'exec "$@"'
        )
        return ["unshare", "--mount", "sh", "-c", script, "sh", *map(str, argv)]

    def close(self):
        self.socket.sendto(b"", (self.address, 53))  # the thread ends
        self.join()
        self.socket.close()


def require_namespaces():
    if os.geteuid() != 0:
        pytest.skip("mount namespaces are for root")
    if not shutil.which("unshare") or subprocess.run(["unshare", "--mount", "true"]).returncode:
        pytest.skip("no mount namespaces here")
