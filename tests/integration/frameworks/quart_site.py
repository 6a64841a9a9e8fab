"""Quart: JSON, forms, uploads, sessions, streams, events, WebSocket, background tasks, threads."""

import asyncio
import hashlib
import threading

from quart import Quart, jsonify, make_response, request, session, websocket

app = Quart(__name__)
app.secret_key = "integration"
SEEN = []


@app.before_serving
async def begin():
    SEEN.append("serving")


@app.after_serving
async def end():
    print("quart ended", flush=True)


@app.get("/")
async def index():
    return jsonify(url=request.url, seen=SEEN)


@app.post("/json")
async def echo_json():
    return jsonify(got=await request.get_json())


@app.post("/form")
async def form():
    return jsonify(name=(await request.form)["name"])


@app.post("/upload")
async def upload():
    data = (await request.files)["file"].read()
    return jsonify(size=len(data), sha=hashlib.sha256(data).hexdigest())


@app.get("/count")
async def count():
    session["n"] = session.get("n", 0) + 1
    return str(session["n"])


@app.get("/events")
async def events():
    async def rows():
        for number in range(3):
            yield f"data: {number}\n\n".encode()
            await asyncio.sleep(0.01)

    answer = await make_response(rows(), {"Content-Type": "text/event-stream"})
    answer.timeout = None
    return answer


@app.get("/thread")
def thread():
    return str(threading.current_thread() is threading.main_thread())


@app.post("/job/<name>")
async def job(name):
    async def work():
        await asyncio.sleep(0.05)
        SEEN.append(name)

    app.add_background_task(work)
    return "started", 202


@app.get("/fail")
async def fail():
    raise RuntimeError("quart view failed")


@app.websocket("/ws")
async def ws():
    await websocket.accept(headers={"X-Quart": "yes"})
    while True:
        await websocket.send("echo " + await websocket.receive())


@app.websocket("/refused")
async def refused():
    return "go away", 401
