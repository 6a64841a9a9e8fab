# SPDX-License-Identifier: MIT
"""The cold parts of serving an ASGI application, called from C: the loop, and the
lifespan protocol. Nothing here runs per request."""

import asyncio


def make_loop(name):
    """`name`: "asyncio", "uvloop", or "auto": uvloop when it can be imported."""
    loop = None
    if name != "asyncio":
        try:
            import uvloop
        except ImportError:
            if name == "uvloop":
                raise
        else:
            loop = uvloop.new_event_loop()
    loop = loop or asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    return loop


def close_loop(loop, timeout):
    """What asyncio.run() does at its end."""
    tasks = [task for task in asyncio.all_tasks(loop) if not task.done()]
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.wait(tasks, timeout=timeout))
    for end in (loop.shutdown_asyncgens, loop.shutdown_default_executor):
        try:
            loop.run_until_complete(asyncio.wait_for(end(), timeout))
        except asyncio.TimeoutError:
            pass
    asyncio.set_event_loop(None)
    loop.close()


class StopWhenReadable:
    """Stops a loop when one of these descriptors is readable, once: of two stops the second
    would end a later run."""

    def __init__(self, loop, *fds):
        self._loop = loop
        self._fds = fds
        for fd in fds:
            loop.add_reader(fd, self._stop)

    def close(self):
        for fd in self._fds:
            self._loop.remove_reader(fd)

    def _stop(self):
        self.close()
        self._loop.stop()


class StartupFailed(Exception):
    """The application said lifespan.startup.failed, with this message."""


class Lifespan:
    """One per process and loop. `state` is what the application put there; each scope
    gets a copy."""

    def __init__(self, app, loop, mode, is_legacy):
        self.state = {}
        self._app = app
        self._loop = loop
        self._mode = mode
        self._is_legacy = is_legacy
        self._task = None
        self._asked = asyncio.Queue()
        self._answer = None

    def start(self):
        """Waits for the application. Raises what it raised, when it must not go on."""
        if self._mode == "off":
            return
        self._asked.put_nowait({"type": "lifespan.startup"})
        self._answer = self._loop.create_future()
        self._task = self._loop.create_task(self._run())
        self._loop.run_until_complete(self._wait())
        failure = None
        if self._task.done():
            failure, self._task = self._task.exception(), None
        if self._answer.done() and self._answer.result() is not None:
            self._task = None
            raise StartupFailed(self._answer.result())
        if failure is not None and self._mode == "on":
            raise failure

    def stop(self, timeout):
        """Waits for the application, not longer than `timeout` seconds. Raises what it
        raised, or with what it said."""
        if self._task is None:
            return
        self._answer = self._loop.create_future()
        self._asked.put_nowait({"type": "lifespan.shutdown"})
        self._loop.run_until_complete(asyncio.wait_for(self._wait(), timeout))
        if self._answer.done() and self._answer.result() is not None:
            raise RuntimeError(f"lifespan.shutdown.failed: {self._answer.result()}")
        if self._task.done() and self._task.exception() is not None:
            raise self._task.exception()

    async def _wait(self):
        """Until the application answered or is done."""
        await asyncio.wait(
            {self._answer, self._task}, return_when=asyncio.FIRST_COMPLETED
        )

    async def _run(self):
        scope = {
            "type": "lifespan",
            "asgi": {"version": "3.0", "spec_version": "2.0"},
            "state": self.state,
        }
        if self._is_legacy:
            await self._app(scope)(self._receive, self._send)
        else:
            await self._app(scope, self._receive, self._send)

    async def _receive(self):
        return await self._asked.get()

    async def _send(self, message):
        step, _, outcome = message["type"].removeprefix("lifespan.").partition(".")
        if step not in ("startup", "shutdown") or outcome not in ("complete", "failed"):
            raise RuntimeError(f"there is no message {message['type']!r} here")
        if self._answer.done():
            raise RuntimeError(f"{message['type']!r} was said before")
        failed = outcome == "failed"
        self._answer.set_result(message.get("message", "") if failed else None)
