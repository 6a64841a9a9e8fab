"""A small Flask application of the usual kind: pages, JSON, forms, cookies, upload, stream."""

import hashlib
import logging

from flask import Flask, Response, jsonify, make_response, request, session, stream_with_context

app = Flask(__name__)
app.secret_key = "integration"


@app.get("/")
def index():
    return "<h1>Flask</h1>"


@app.get("/items/<int:number>")
def item(number):
    return jsonify(number=number, query=request.args.get("q"), host=request.host)


@app.post("/form")
def form():
    return jsonify(name=request.form["name"], kind=request.content_type)


@app.post("/upload")
def upload():
    sent = request.files["file"]
    data = sent.read()
    return jsonify(name=sent.filename, size=len(data), sha=hashlib.sha256(data).hexdigest())


@app.get("/count")
def count():
    session["n"] = session.get("n", 0) + 1
    return str(session["n"])


@app.get("/cookies")
def cookies():
    answer = make_response("two cookies")
    answer.set_cookie("a", "1")
    answer.set_cookie("b", "2", httponly=True)
    return answer


@app.get("/stream")
def stream():
    def rows():
        for number in range(1000):
            yield f"row {number} of {request.args.get('name', '')}\n"

    return Response(stream_with_context(rows()), mimetype="text/plain")


@app.get("/fail")
def fail():
    logging.getLogger("shop").error("about to fail")
    raise RuntimeError("flask view failed")
