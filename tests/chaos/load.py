#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A load generator that forgets nothing: one line for each request, whatever became of it.

    load.py --to ADDRESS[,ADDRESS...] --out FILE [--connections N] [--every SECONDS] [--posts SHARE]

Each connection sends a request, waits for its answer, waits for the rest of --every, and goes on.
It is a client by the book (RFC 9112 section 9.3.1): several addresses are tried in turn when one
does not accept; a GET on a connection that was used before and ends without a byte of the
answer is sent once more on a new one (`resent`). A POST never is.

Standard input: `to ADDRESS,...` changes the addresses, `stop` ends it when all are answered.
Lines of FILE: begin, end, method, status, who, version, key, note; separated by tabs. Status 0: no
answer; the note says why.
"""

import argparse
import asyncio
import random
import sys
import time
import uuid

PATIENCE_S = 45  # beyond every timeout of the proxy's: then it left a client hanging
CONNECT_S = 2


class Cut(Exception):
    """The connection ended. `unused`: before a byte of the answer, and it had served before."""

    def __init__(self, why, unused):
        super().__init__(why)
        self.unused = unused


class Client:
    def __init__(self, load):
        self.load = load
        self.reader = self.writer = self.targets = None
        self.served = 0

    async def connect(self):
        self.served = 0
        last = "no address"
        targets = list(self.targets)
        random.shuffle(targets)
        for host, port in targets:
            try:
                opening = asyncio.open_connection(host, port)
                self.reader, self.writer = await asyncio.wait_for(opening, CONNECT_S)
                return
            except (OSError, asyncio.TimeoutError) as error:
                last = f"connect {host}:{port}: {error or 'timed out'}"
        raise Cut(last, False)

    def close(self):
        if self.writer:
            self.writer.close()
        self.reader = self.writer = None

    async def ask(self, method, key):
        """Status, who, version."""
        # Other addresses: as a load balancer would, it spreads anew, while it is idle.
        if self.targets is not self.load.targets:
            self.close()
            self.targets = self.load.targets
        if self.writer is None:
            await self.connect()
        body = key.encode() if method == "POST" else b""
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        head = f"{method} /{key} HTTP/1.1\r\nHost: chaos\r\n{length}\r\n"
        got = False
        try:
            self.writer.write(head.encode() + body)
            status_line = await self.reader.readline()
            got = bool(status_line)
            if not got:
                raise Cut("closed without an answer", self.served > 0)
            return await self.answer(int(status_line.split()[1]))
        except (OSError, asyncio.IncompleteReadError, ValueError) as error:
            raise Cut(f"{type(error).__name__}: {error}", self.served > 0 and not got) from error

    async def answer(self, status):
        fields = {}
        while line := (await self.reader.readline()).rstrip(b"\r\n"):
            name, _, value = line.decode("latin-1").partition(":")
            fields[name.lower()] = value.strip()
        await self.reader.readexactly(int(fields.get("content-length", 0)))
        self.served += 1
        if fields.get("connection", "").lower() == "close":
            self.close()
        return status, fields.get("x-who", "-"), fields.get("x-version", "-")

    async def once(self):
        load = self.load
        method = "POST" if random.random() < load.posts else "GET"
        key, note = uuid.uuid4().hex, "-"
        begin = time.time()
        status, who, version = 0, "-", "-"
        for attempt in range(2):
            try:
                asking = self.ask(method, key)
                status, who, version = await asyncio.wait_for(asking, PATIENCE_S)
                break
            except asyncio.TimeoutError:
                note = f"no answer within {PATIENCE_S} s"
                self.close()
                break
            except Cut as cut:
                note = str(cut)
                self.close()
                if method == "POST" or attempt == 1 or not cut.unused:
                    break
                note = "resent"
        end = time.time()
        words = (f"{begin:.6f}", f"{end:.6f}", method, status, who, version, key, note)
        print(*words, sep="\t", file=load.out)
        if status == 0:
            await asyncio.sleep(0.05)
        return end - begin

    async def run(self, delay):
        await asyncio.sleep(delay)
        while not self.load.stopping:
            spent = await self.once()
            if self.load.every > spent:
                await asyncio.sleep(self.load.every - spent)
        self.close()


class Load:
    def __init__(self, options):
        self.out = open(options.out, "w", buffering=1 << 16)
        self.every, self.posts = options.every, options.posts
        self.connections = options.connections
        self.stopping = False
        self.set_targets(options.to)

    def set_targets(self, text):
        pairs = [address.rpartition(":") for address in text.split(",") if address]
        self.targets = [(host, int(port)) for host, _, port in pairs]

    async def listen(self):
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := (await reader.readline()).decode().split():
            if line[0] == "to":
                self.set_targets(line[1])
            if line[0] == "stop":
                break
        self.stopping = True

    async def run(self):
        clients = [Client(self) for _ in range(self.connections)]
        step = self.every / max(1, self.connections)
        jobs = [client.run(i * step) for i, client in enumerate(clients)]
        await asyncio.gather(self.listen(), *jobs)
        self.out.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--to", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--every", type=float, default=0.05)
    parser.add_argument("--posts", type=float, default=0)
    asyncio.run(Load(parser.parse_args()).run())


if __name__ == "__main__":
    main()
