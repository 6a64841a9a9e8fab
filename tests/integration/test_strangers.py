# SPDX-License-Identifier: MIT
"""Something else listens at an address for a while. ZeroMQ gives up for ever on whoever breaks
its protocol; the links of proxies and of app servers that register come back all the same."""

import socket
import threading

import pytest
from conftest import free_port, until
from test_keys import Edge, start_app
from test_register import App, Proxy

GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(48)


def ready(kind):
    body = b"\x05READY\x0bSocket-Type" + len(kind).to_bytes(4, "big") + kind
    return b"\x04" + bytes([len(body)]) + body


SAYS = {
    "nothing": b"",
    "zeros": bytes(100),
    "another kind of socket": GREETING + ready(b"PUB"),
    "another command": GREETING + b"\x04\x06\x05HELLO",
    "more than is allowed": GREETING + ready(b"ROUTER") + b"\x02" + (1 << 40).to_bytes(8, "big"),
}


class Stranger:
    def __init__(self, port, says):
        self.socket, self.says = socket.create_server(("127.0.0.1", port)), says
        self.ended = 0
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            with connection:
                try:
                    connection.settimeout(1)
                    connection.sendall(self.says)
                    while self.says and connection.recv(1000):
                        pass
                except OSError:
                    pass
            self.ended += 1

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        self.thread.join()


@pytest.mark.parametrize("says", SAYS)
def test_at_the_address_of_an_app_server(start, says):
    port = free_port()
    with Stranger(port, SAYS[says]) as stranger:
        edge = Edge(start, [port])
        until(lambda: stranger.ended > 0, "it was connected to")
    start_app(start, port)
    until(edge.is_whole, "the app server is up")
    assert edge.asks() == 200


@pytest.mark.parametrize("says", SAYS)
def test_at_the_address_of_a_proxy(start, says):
    port = free_port()
    with Stranger(port, SAYS[says]) as stranger:
        app = App(start, [f"tcp://127.0.0.1:{port}"], name="web")
        until(lambda: stranger.ended > 0, "it was connected to")
    proxy = Proxy(start, port=port)
    proxy.until_up("web")
    assert app.process.stop() == 0
