"""Starlette: routes, mounts, middleware, sessions, static files, events, WebSocket endpoints."""

import asyncio
import pathlib

from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint, WebSocketEndpoint
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.responses import (
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    StreamingResponse,
)
from starlette.routing import Host, Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles

HERE = pathlib.Path(__file__).parent
EVENTS = {"made": 0, "ended": 0}

PAGE = "<!doctype html><title>A page</title>" + "<p>Some text, again and again.</p>" * 50


async def index(request):
    return PlainTextResponse(f"{request.url} {request.client.host}")


async def page(request):
    return HTMLResponse(PAGE)


async def item(request):
    number = request.path_params["number"]
    again = str(request.url_for("item", number=number))
    return JSONResponse({"number": number, "url": again, "root_path": request.scope["root_path"]})


async def mounted(request):
    url = str(request.url_for("api:mounted", name="a b"))
    root_path = request.scope["root_path"]
    return JSONResponse({"name": request.path_params["name"], "url": url, "root_path": root_path})


async def count(request):
    request.session["n"] = request.session.get("n", 0) + 1
    return PlainTextResponse(str(request.session["n"]))


async def size(request):
    total = 0
    async for piece in request.stream():
        total += len(piece)
    return PlainTextResponse(str(total))


async def events(request):
    """?N events, the first at once; without N they never end."""

    async def rows():
        number = 0
        try:
            while number != int(request.url.query or -1):
                EVENTS["made"] = number
                yield f"id: {number}\ndata: {number}\n\n"
                number += 1
                await asyncio.sleep(0.05)
        finally:
            EVENTS["ended"] += 1

    return StreamingResponse(rows(), media_type="text/event-stream")


async def ended(request):
    return JSONResponse(EVENTS)


async def watched(request):
    """Waits until its client has left."""
    while not await request.is_disconnected():
        await asyncio.sleep(0.02)
    EVENTS["ended"] += 1
    return PlainTextResponse("nobody reads this")


async def forbidden(request):
    raise HTTPException(status_code=403, detail="not for you")


async def fail(request):
    raise RuntimeError("starlette view failed")


class Thing(HTTPEndpoint):
    async def get(self, request):
        return PlainTextResponse("got")

    async def delete(self, request):
        return PlainTextResponse("deleted")


class Echo(WebSocketEndpoint):
    encoding = None

    async def on_connect(self, websocket):
        offered = websocket.scope["subprotocols"]
        await websocket.accept(subprotocol=offered[0] if offered else None)

    async def on_receive(self, websocket, data):
        if isinstance(data, str):
            await websocket.send_text(data)
        else:
            await websocket.send_bytes(data)

    async def on_disconnect(self, websocket, close_code):
        EVENTS["closed"] = close_code


class Stamp(BaseHTTPMiddleware):
    async def dispatch(self, request, call_next):
        response = await call_next(request)
        response.headers["X-Stamp"] = "starlette"
        return response


async def on_subdomain(request):
    return PlainTextResponse(f"sub {request.path_params['name']}")


async def home(request):
    return RedirectResponse(request.url_for("item", number=1))


wrapped = Starlette(
    routes=[Route("/page", page), Route("/count", count)],
    middleware=[Middleware(Stamp), Middleware(GZipMiddleware, minimum_size=500)],
)
app = Starlette(
    routes=[
        Route("/", index),
        Route("/page", page),
        Route("/home", home),
        Route("/items/{number:int}", item, name="item"),
        Route("/count", count),
        Route("/size", size, methods=["POST"]),
        Route("/events", events),
        Route("/ended", ended),
        Route("/watched", watched),
        Route("/forbidden", forbidden),
        Route("/fail", fail),
        Route("/thing", Thing),
        WebSocketRoute("/echo", Echo),
        Mount("/api", name="api", routes=[
            Route("/m/{name}", mounted, name="mounted"),
            WebSocketRoute("/echo", Echo),
        ]),
        # These two would hold streams up.
        Mount("/wrapped", app=wrapped),
        Mount("/static", app=StaticFiles(directory=HERE / "static"), name="static"),
        Host("{name}.example.org", app=Starlette(routes=[Route("/host", on_subdomain)])),
    ],
    middleware=[Middleware(SessionMiddleware, secret_key="integration")],
)
