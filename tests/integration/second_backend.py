#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""An app server of Banyan's protocol in Python, written from protocol/README.md alone.

    second_backend.py ENDPOINT [--slots N] [--grant N] [--window BYTES] [--page PATH]
                      [--interface NAME] [--wsgi MODULE:APP]

It proves that the specification suffices, and it can do what no honest app server does:
see second_apps.py. One thread owns the socket; `slots` threads run handlers.
"""

import argparse
import collections
import os
import random
import signal
import threading
import time
import traceback

import msgpack
import second_apps
import second_websockets  # noqa: F401, adds handlers
import zmq
from second_stream import (
    BATCH_BYTES,
    BATCH_FRAMES,
    BODY,
    BYE,
    CANCEL,
    DRAIN,
    END,
    FILED,
    FROM_PROXY,
    GRANT,
    HELLO,
    LIMIT,
    LINK_KINDS,
    LOAD,
    MAX_BULK,
    MAX_INLINE,
    MAX_PART,
    PING,
    REQUEST,
    WINDOW,
    WS,
    Cancelled,
    Closed,
    Malformed,
    Page,
    Peer,
    Stream,
    after,
    now_us,
    text,
    unpack_frames,
)


LOAD_INTERVAL_MS = 100


class Backend:
    def __init__(self, app, options):
        self.app = app
        self.endpoint = options.endpoint
        self.slots = options.slots
        self.grant = options.grant or options.slots
        self.window = options.window
        self.interface, self.pool = options.interface, options.pool
        self.features = ["inform"] + (["websocket"] if options.websocket else [])
        self.instance = random.getrandbits(63)
        self.page = Page(options.page, self.instance) if options.page else None
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.peers, self.ignored = {}, set()
        self.waiting = collections.deque()
        self.running = 0
        self.most = self.slots  # may run at once
        self.is_above = False  # more run than a lowered limit allows
        self.dropped = 0  # frames that were normal to drop
        self.service_us = 0
        self.outgoing = collections.deque()
        self.wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.is_stopping = self.is_draining = False
        self.must_rebind = False
        self.context = zmq.Context()

    # The socket's thread.

    def run(self):
        self.bind()
        for _ in range(self.slots):
            threading.Thread(target=self.work, daemon=True).start()
        print("ready", os.getpid(), self.endpoint, flush=True)
        last_load = 0
        while not (self.is_draining and self.running == 0 and not self.outgoing):
            ready = dict(self.poller.poll(LOAD_INTERVAL_MS))
            if self.wake in ready:
                os.eventfd_read(self.wake)
            if self.socket in ready:
                self.receive()
            if self.is_stopping and not self.is_draining:
                self.drain()
            if self.running and now_us() - last_load > LOAD_INTERVAL_MS * 1000:
                last_load = now_us()
                self.send_loads()
            self.flush()
            if self.must_rebind:
                self.rebind()
        for peer in self.peers.values():
            self.send(peer, [BYE, peer.epoch, "SHUTTING_DOWN"])
        self.flush()
        time.sleep(0.1)  # the proxy closes first, and has read everything then
        self.context.destroy(linger=1000)
        if self.page:
            os.unlink(self.page.path)

    def bind(self):
        self.socket = self.context.socket(zmq.ROUTER)
        self.socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self.socket.setsockopt(zmq.MAXMSGSIZE, MAX_PART)
        self.socket.setsockopt(zmq.LINGER, 1000)
        self.socket.bind(self.endpoint)
        self.poller = zmq.Poller()
        self.poller.register(self.socket, zmq.POLLIN)
        self.poller.register(self.wake, zmq.POLLIN)

    def rebind(self):
        """Every connection breaks, as if the network had."""
        self.must_rebind = False
        for identity in list(self.peers):
            self.lose(identity)
        self.socket.close(linger=0)
        time.sleep(0.05)
        self.bind()

    def receive(self):
        for _ in range(256):
            try:
                identity, *parts = self.socket.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                return
            if identity in self.ignored:
                self.dropped += 1
                continue
            try:
                with self.lock:
                    self.take_message(identity, parts)
            except (Malformed, TypeError, ValueError, LookupError) as e:
                print("malformed:", repr(e), flush=True)
                reason = str(e) if isinstance(e, Malformed) else "BAD_FRAME"
                self.refuse(identity, reason)

    def take_message(self, identity, parts):
        if len(parts) > 2 or (len(parts) == 2 and not 0 < len(parts[1]) <= MAX_BULK):
            raise Malformed("BAD_FRAME")
        frames = unpack_frames(parts[0])
        bulk = parts[1] if len(parts) == 2 else None
        for i, frame in enumerate(frames):
            is_last = i == len(frames) - 1
            bulk_here = bulk if is_last else None
            needs_bulk = frame[:1] == [BODY] and len(frame) > 2 and frame[2] is None
            if needs_bulk != (bulk_here is not None):
                raise Malformed("BAD_FRAME")
            self.take_frame(identity, frame, bulk_here)

    def take_frame(self, identity, frame, bulk):
        if not isinstance(frame, list) or len(frame) < 2:
            raise Malformed("BAD_FRAME")
        kind = frame[0]
        if kind > LIMIT and kind % 2:
            return
        if len(frame) < FROM_PROXY.get(kind, 2**32):
            raise Malformed("BAD_FRAME")
        peer = self.peers.get(identity)
        if peer is None and kind != HELLO:
            self.dropped += 1
        elif kind == HELLO:
            self.take_hello(identity, peer, frame)
        elif kind in LINK_KINDS:
            if frame[1] == peer.epoch:
                self.take_link_frame(peer, frame)
            else:
                self.dropped += 1
        elif kind == REQUEST:
            self.take_request(peer, frame)
        elif frame[1] in peer.streams:
            self.take_stream_frame(peer.streams[frame[1]], frame, bulk)
        else:
            self.dropped += 1

    def take_hello(self, identity, peer, frame):
        if frame[2] != 1:
            raise Malformed("PROTOCOL_VERSION")
        _, epoch, _, role, _, clock_us, features, limits, _ = frame[:9]
        if role != b"proxy" or peer is not None:
            raise Malformed("BAD_FRAME")
        slot = self.page.claim() if self.page else 0
        window = limits.get(b"window", 262144)
        peer = Peer(identity, epoch, window, features, clock_us, slot)
        self.peers[identity] = peer
        about = {"slots": self.most, "pid": os.getpid(), "interface": self.interface, "pool": self.pool}
        if self.page:
            about |= {"page": self.page.path, "page_slot": slot}
        limits = {"window": self.window, "inline": MAX_INLINE}
        us = ["app", self.instance, now_us(), self.features, limits, about]
        self.send(peer, [HELLO, epoch, 1, *us])
        self.send_grant(peer)

    def take_link_frame(self, peer, frame):
        if frame[0] == PING:
            peer.offset = min(peer.offset, now_us() - frame[3])
            self.send_load(peer, frame[2])
        elif frame[0] == LIMIT:
            peer.limit = frame[2]
            self.review_limit()
        elif frame[0] == BYE:
            self.lose(peer.identity)
            self.ignored.add(peer.identity)

    def review_limit(self):
        """The lowest word of all links, and of our own."""
        limits = [peer.limit for peer in self.peers.values() if peer.limit]
        most = min([self.slots, *limits])
        if most == self.most:
            return
        self.most = most
        self.is_above = self.running > most
        for peer in self.peers.values():
            self.send_grant(peer)
            self.send_load(peer, 0)
        self.changed.notify_all()

    def send_grant(self, peer):
        window = min(self.grant, self.most) if self.most < self.slots else self.grant
        self.send(peer, [GRANT, peer.epoch, 0 if self.is_stopping else window])

    def take_request(self, peer, frame):
        stream = Stream(self, peer, frame)
        if not after(stream.number, peer.last_stream):
            raise Malformed("BAD_FRAME")
        peer.last_stream = stream.number
        peer.streams[stream.number] = stream
        if self.is_stopping:
            stream.give_back("SHUTTING_DOWN")
            return
        self.waiting.append(stream)
        self.changed.notify_all()

    def take_stream_frame(self, stream, frame, bulk):
        kind, value = frame[0], frame[2]
        if kind == BODY:
            stream.take_body(bulk if value is None else value)
        elif kind == END:
            stream.take_end()
        elif kind == WINDOW:
            stream.credit += value
        elif kind == FILED:
            stream.filed = value
        elif kind == WS:
            stream.take_ws(value, frame[3:])
        elif kind == CANCEL:
            stream.is_cancelled, stream.cancel_reason = True, text(value)
            if not stream.is_running:
                self.waiting.remove(stream)
                stream.give_back(stream.cancel_reason)
        self.changed.notify_all()

    def refuse(self, identity, reason):
        peer = self.peers.get(identity)
        bye = [BYE, peer.epoch if peer else 0, reason]
        self.send_message(identity, msgpack.packb(bye))
        self.lose(identity)
        self.ignored.add(identity)

    def lose(self, identity):
        """The peer is gone: what it has here and was not started is dropped."""
        with self.lock:
            peer = self.peers.pop(identity, None)
            if peer is None:
                return
            self.review_limit()
            peer.is_gone = True
            kept = [s for s in self.waiting if s.peer is not peer]
            self.waiting = collections.deque(kept)
            self.changed.notify_all()

    def drain(self):
        with self.lock:
            self.is_draining = True
            for peer in self.peers.values():
                self.send(peer, [GRANT, peer.epoch, 0])
                self.send(peer, [DRAIN, peer.epoch])
            while self.waiting:
                self.waiting.popleft().give_back("SHUTTING_DOWN")
        print("drained", flush=True)

    def send_load(self, peer, sequence):
        busy = [self.running, len(self.waiting), self.service_us, self.most]
        self.send(peer, [LOAD, peer.epoch, sequence, now_us(), *busy])

    def send_loads(self):
        for peer in list(self.peers.values()):
            self.send_load(peer, 0)

    def flush(self):
        """Frames for the same peer share messages."""
        frames, size, to = [], 0, None
        while self.outgoing:
            peer, frame, bulk = self.outgoing.popleft()
            is_full = len(frames) == BATCH_FRAMES or size > BATCH_BYTES
            if frames and (is_full or peer is not to):
                self.send_message(to.identity, b"".join(frames))
                frames, size = [], 0
            to, size = peer, size + len(frame)
            frames.append(frame)
            if bulk is not None:
                self.send_message(to.identity, b"".join(frames), *bulk)
                frames, size = [], 0
        if frames:
            self.send_message(to.identity, b"".join(frames))

    def send_message(self, identity, *parts):
        try:
            self.socket.send_multipart([identity, *parts])
        except zmq.ZMQError as e:
            if e.errno != zmq.EHOSTUNREACH:
                raise
            self.lose(identity)

    # Any thread.

    def send(self, peer, frame, bulk=None):
        self.send_raw(peer, msgpack.packb(frame), None if bulk is None else [bulk])

    def send_raw(self, peer, frame, more_parts=None):
        self.outgoing.append((peer, frame, more_parts))
        os.eventfd_write(self.wake, 1)

    def tell(self, *_):
        for stream in list(self.waiting):
            print(f"{stream.path} waits with {stream.received} bytes", flush=True)

    def stop(self, *_):
        self.is_stopping = True
        os.eventfd_write(self.wake, 1)

    # The handlers' threads.

    def work(self):
        while True:
            with self.lock:
                while not self.waiting or self.running >= self.most:
                    self.changed.wait()
                stream = self.waiting.popleft()
                if stream.deadline and stream.deadline < now_us():
                    stream.give_back("REQUEST_TIMEOUT")
                    continue
                stream.is_running = True
                self.running += 1
                if self.page:
                    self.page.mark(stream.peer.page_slot, stream.number)
            began = now_us()
            try:
                self.app(stream)
                if not stream.is_finished:
                    stream.abort(why="the handler sent no answer")
            except Cancelled as e:
                stream.abort(str(e))
            except Closed:
                stream.end()
            except Exception as e:
                traceback.print_exc()
                stream.abort(why=repr(e))
            with self.lock:
                self.service_us = (7 * self.service_us + now_us() - began) // 8
                self.running -= 1
                if self.is_above and self.running <= self.most:
                    self.is_above = False
                    self.send_loads()
                self.changed.notify_all()
            os.eventfd_write(self.wake, 1)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("endpoint")
    parser.add_argument("--slots", type=int, default=4)
    parser.add_argument("--grant", type=int, help="requests of a link; default: slots")
    parser.add_argument("--window", type=int, default=262144)
    parser.add_argument("--interface", default="wsgi")
    parser.add_argument("--pool", default="default")
    parser.add_argument("--page", help="path of the shared page")
    parser.add_argument("--websocket", action="store_true", help="announce the feature")
    parser.add_argument("--wsgi", metavar="MODULE:APP")
    options = parser.parse_args()
    app = second_apps.wsgi(options.wsgi) if options.wsgi else second_apps.run
    backend = Backend(app, options)
    signal.signal(signal.SIGTERM, backend.stop)
    signal.signal(signal.SIGINT, backend.stop)
    signal.signal(signal.SIGUSR1, backend.tell)
    backend.run()


if __name__ == "__main__":
    main()
