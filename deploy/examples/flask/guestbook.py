# SPDX-License-Identifier: MIT
"""A guest book in Flask: a form, a database, JSON.

    banyan serve --chdir deploy/examples/flask guestbook:app

Needs python3-flask. The entries are kept in the SQLite file that GUESTBOOK names
(default: guestbook.sqlite in the temporary directory), shared by all workers.
"""

import os
import sqlite3
import tempfile

from flask import Flask, abort, g, jsonify, redirect, render_template_string, request

app = Flask(__name__)
app.config["DATABASE"] = os.environ.get(
    "GUESTBOOK", os.path.join(tempfile.gettempdir(), "guestbook.sqlite")
)

PAGE = """<!doctype html>
<title>Guest book</title>
<h1>Guest book</h1>
<form method="post" action="/sign">
  <input name="name" placeholder="Your name" maxlength="50" required>
  <input name="text" placeholder="Your words" maxlength="500" required>
  <button>Sign</button>
</form>
<ul>
{% for entry in entries %}
  <li><b>{{ entry.name }}</b>: {{ entry.text }}</li>
{% else %}
  <li>Be the first.</li>
{% endfor %}
</ul>
"""


def database():
    if "database" not in g:
        g.database = sqlite3.connect(app.config["DATABASE"], timeout=10)
        g.database.row_factory = sqlite3.Row
        g.database.execute(
            "CREATE TABLE IF NOT EXISTS entry (name TEXT NOT NULL, text TEXT NOT NULL)"
        )
    return g.database


@app.teardown_appcontext
def close_database(_error):
    connection = g.pop("database", None)
    if connection is not None:
        connection.close()


def entries():
    return database().execute(
        "SELECT name, text FROM entry ORDER BY rowid DESC LIMIT 50"
    )


@app.get("/")
def index():
    return render_template_string(PAGE, entries=entries().fetchall())


@app.post("/sign")
def sign():
    name, text = (
        request.form.get("name", "").strip(),
        request.form.get("text", "").strip(),
    )
    if not 0 < len(name) <= 50 or not 0 < len(text) <= 500:
        abort(400, "a name and some words are needed")
    with database() as connection:
        connection.execute("INSERT INTO entry VALUES (?, ?)", (name, text))
    return redirect("/", code=303)


@app.get("/entries.json")
def entries_json():
    return jsonify([dict(entry) for entry in entries()])
