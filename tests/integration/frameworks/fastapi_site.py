"""FastAPI as its documentation teaches it: parameters, bodies, forms, uploads, dependencies,
background tasks, threads, WebSocket chat, streams, files, a lifespan, a mounted Flask."""

import asyncio
import contextlib
import hashlib
import os
import threading
import time
from typing import List, Optional

from fastapi import (
    BackgroundTasks,
    Cookie,
    Depends,
    FastAPI,
    File,
    Form,
    Header,
    HTTPException,
    Request,
    UploadFile,
    WebSocket,
    WebSocketDisconnect,
)
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse
from flask_site import app as flask_app
from pydantic import BaseModel

try:
    from a2wsgi import WSGIMiddleware
except ImportError:
    from starlette.middleware.wsgi import WSGIMiddleware

EVENTS = []


@contextlib.asynccontextmanager
async def lifespan(app):
    app.state.model = "loaded"
    yield {"started": 1}
    print("model unloaded", flush=True)


app = FastAPI()
app.router.lifespan_context = lifespan  # FastAPI(lifespan=lifespan), older ones included
app.mount("/flask", WSGIMiddleware(flask_app))


class Item(BaseModel):
    name: str
    price: float
    tags: List[str] = []


@app.middleware("http")
async def add_process_time(request: Request, call_next):
    began = time.perf_counter()
    response = await call_next(request)
    response.headers["X-Process-Time"] = str(time.perf_counter() - began)
    return response


@app.get("/")
async def index(request: Request):
    return {"model": app.state.model, "started": request.state.started, "url": str(request.url)}


@app.get("/items/{item_id}")
async def read_item(item_id: int, q: Optional[str] = None, short: bool = False):
    return {"item_id": item_id, "q": q, "short": short}


@app.post("/items", status_code=201)
async def create_item(item: Item):
    return {"name": item.name, "total": item.price * 2, "tags": item.tags}


@app.get("/headers")
async def headers(user_agent: str = Header(), seen: Optional[str] = Cookie(default=None)):
    answer = JSONResponse({"agent": user_agent, "seen": seen})
    answer.set_cookie("seen", "yes")
    return answer


@app.post("/login")
async def login(username: str = Form(), password: str = Form()):
    return {"username": username, "length": len(password)}


@app.post("/upload")
async def upload(file: UploadFile, note: str = Form(default="")):
    digest, size = hashlib.sha256(), 0
    while piece := await file.read(65536):
        digest.update(piece)
        size += len(piece)
    return {"name": file.filename, "size": size, "sha": digest.hexdigest(), "note": note}


@app.post("/files")
async def files(files: List[bytes] = File()):
    return [len(file) for file in files]


async def write_note(email: str):
    await asyncio.sleep(0.05)
    EVENTS.append(f"mailed {email}")


@app.post("/notify/{email}")
async def notify(email: str, background_tasks: BackgroundTasks):
    background_tasks.add_task(write_note, email)
    background_tasks.add_task(EVENTS.append, f"logged {email}")
    return "accepted"


@app.get("/events")
async def events():
    return EVENTS


async def get_session(name: str = "x"):
    EVENTS.append(f"open {name}")
    try:
        yield f"session {name}"
    finally:
        EVENTS.append(f"closed {name}")


def get_user(x_token: str = Header()):
    if x_token != "secret":
        raise HTTPException(status_code=401, detail="bad token", headers={"X-Error": "token"})
    return "ada"


@app.get("/me")
async def me(user: str = Depends(get_user), session: str = Depends(get_session)):
    return {"user": user, "session": session}


BARRIER = threading.Barrier(5)


@app.get("/threads")
def threads():
    """A sync handler: answers when five of them run at once."""
    BARRIER.wait(20)
    return threading.current_thread() is threading.main_thread()


@app.get("/stream")
async def stream():
    async def rows():
        for number in range(1000):
            yield f"row {number}\n"
            if number % 100 == 0:
                await asyncio.sleep(0)

    return StreamingResponse(rows(), media_type="text/plain")


@app.get("/sync-stream")
async def sync_stream():
    return StreamingResponse((f"row {n}\n" for n in range(100)), media_type="text/plain")


@app.get("/file")
async def file():
    return FileResponse(os.environ["SITE_FILE"], filename="name.bin")


class Teapot(Exception):
    pass


@app.exception_handler(Teapot)
async def teapot(request: Request, error: Teapot):
    return JSONResponse({"message": "short and stout"}, status_code=418)


@app.get("/teapot")
async def brew():
    raise Teapot


@app.get("/fail")
async def fail():
    raise RuntimeError("fastapi view failed")


class ConnectionManager:
    def __init__(self):
        self.active: List[WebSocket] = []

    async def connect(self, websocket: WebSocket):
        await websocket.accept()
        self.active.append(websocket)

    def disconnect(self, websocket: WebSocket):
        self.active.remove(websocket)

    async def broadcast(self, message: str):
        for connection in self.active:
            await connection.send_text(message)


manager = ConnectionManager()


@app.websocket("/ws/{client_id}")
async def chat(websocket: WebSocket, client_id: int):
    await manager.connect(websocket)
    try:
        while True:
            data = await websocket.receive_text()
            await websocket.send_json({"you": data})
            await manager.broadcast(f"#{client_id} says: {data}")
    except WebSocketDisconnect as error:
        manager.disconnect(websocket)
        await manager.broadcast(f"#{client_id} left with {error.code}")


async def need_token(websocket: WebSocket, token: Optional[str] = None):
    if token is None:
        await websocket.close(code=1008)
    return token


@app.websocket("/guarded")
async def guarded(websocket: WebSocket, token: Optional[str] = Depends(need_token)):
    if token:
        await websocket.accept()
        await websocket.send_bytes(token.encode())
        await websocket.close(code=4000, reason="enough")
