"""The ASGI application every deployment of the bench serves: one look-up, then the workload.

Starlette and FastAPI are imported on first use, so that memory measured before is the server's own."""

import asyncio

HELLO = b"Hello, World!"
TEXT = (b"content-type", b"text/plain")
START = {"type": "http.response.start", "status": 200, "headers": [TEXT, (b"content-length", b"13")]}
PIECE = {"type": "http.response.body", "body": b"x" * 1024, "more_body": True}


async def hello(scope, receive, send):
    await send({**START})
    await send({"type": "http.response.body", "body": HELLO})


async def stream(scope, receive, send):
    """Ten pieces of 1 KiB."""
    await send({"type": "http.response.start", "status": 200, "headers": [TEXT]})
    for _ in range(10):
        await send({**PIECE})
    await send({"type": "http.response.body"})


async def sleep20(scope, receive, send):
    await asyncio.sleep(0.02)
    await hello(scope, receive, send)


async def websocket(scope, receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})


async def lifespan(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


def load_starlette():
    from starlette.applications import Starlette
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    async def view(request):
        return JSONResponse({"message": "Hello, World!", "id": 1, "ok": True})

    return Starlette(routes=[Route("/starlette", view)])


def load_fastapi():
    from fastapi import FastAPI

    app = FastAPI()

    @app.get("/fastapi")
    async def view():
        return {"message": "Hello, World!", "id": 1, "ok": True}

    return app


def lazy(path, load):
    async def first(scope, receive, send):
        if ROUTES[path] is first:
            ROUTES[path] = load()
        await ROUTES[path](scope, receive, send)

    return first


ROUTES = {"/hello": hello, "/stream": stream, "/sleep20": sleep20}
ROUTES["/starlette"] = lazy("/starlette", load_starlette)
ROUTES["/fastapi"] = lazy("/fastapi", load_fastapi)
KINDS = {"websocket": websocket, "lifespan": lifespan}


async def application(scope, receive, send):
    run = KINDS.get(scope["type"]) or ROUTES[scope["path"]]
    await run(scope, receive, send)
