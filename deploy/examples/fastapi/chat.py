# SPDX-License-Identifier: MIT
"""A chat room in FastAPI: WebSockets, server-sent events, JSON.

    banyan serve --chdir deploy/examples/fastapi --workers 1 chat:app

Needs python3-fastapi. One process, because the room lives in its memory; with more of them a
message broker would carry what is said from one to the others. Watch it with
`curl -N http://127.0.0.1:8000/events`, talk with a browser, or post:
`curl -d '{"name": "Ada", "text": "hello"}' -H 'Content-Type: application/json' http://127.0.0.1:8000/says`.
"""

import asyncio
import contextlib
import json

from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from fastapi.responses import HTMLResponse, StreamingResponse
from pydantic import BaseModel, Field

PAGE = """<!doctype html>
<title>Chat</title>
<h1>Chat</h1>
<form><input id="name" placeholder="Your name"> <input id="text" placeholder="Your words" autofocus>
<button>Say</button></form>
<ul id="said"></ul>
<script>
  const ws = new WebSocket(location.href.replace(/^http/, "ws") + "ws");
  const field = id => document.getElementById(id);
  ws.onmessage = e => {
    const {name, text} = JSON.parse(e.data), line = document.createElement("li");
    line.textContent = name + ": " + text;
    field("said").prepend(line);
  };
  document.forms[0].onsubmit = e => {
    e.preventDefault();
    ws.send(JSON.stringify({name: field("name").value || "somebody", text: field("text").value}));
    field("text").value = "";
  };
</script>
"""


class Saying(BaseModel):
    name: str = Field(min_length=1, max_length=50)
    text: str = Field(min_length=1, max_length=500)


class Room:
    """Everybody who listens has a queue of what they have not heard yet."""

    def __init__(self):
        self.listeners = set()
        self.last = []

    @contextlib.contextmanager
    def listen(self):
        queue = asyncio.Queue()
        for saying in self.last:
            queue.put_nowait(saying)
        self.listeners.add(queue)
        try:
            yield queue
        finally:
            self.listeners.discard(queue)

    def say(self, saying):
        line = json.dumps({"name": saying.name, "text": saying.text})
        self.last = [*self.last[-9:], line]
        for queue in self.listeners:
            queue.put_nowait(line)


app = FastAPI(title="Chat")
room = Room()


@app.get("/", response_class=HTMLResponse)
async def page():
    return PAGE


@app.post("/says", status_code=201)
async def says(saying: Saying):
    room.say(saying)
    return {"listeners": len(room.listeners)}


@app.get("/events")
async def events():
    async def lines():
        with room.listen() as queue:
            while True:
                yield f"data: {await queue.get()}\n\n"

    return StreamingResponse(lines(), media_type="text/event-stream")


@app.websocket("/ws")
async def talk(websocket: WebSocket):
    await websocket.accept()
    with room.listen() as queue:
        teller = asyncio.create_task(tell(websocket, queue))
        try:
            while True:
                room.say(Saying(**await websocket.receive_json()))
        except WebSocketDisconnect:
            pass
        except ValueError:
            await websocket.close(code=1003, reason="a name and some words are needed")
        finally:
            teller.cancel()


async def tell(websocket, queue):
    while True:
        await websocket.send_text(await queue.get())
