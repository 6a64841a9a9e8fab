# SPDX-License-Identifier: MIT
"""Personal notes in Django, in one file: a form with CSRF protection, a signed cookie.

    banyan serve --chdir deploy/examples/django -e SECRET_KEY=change-me notes:application

Needs python3-django. All workers sign cookies with the one SECRET_KEY.
"""

import os

import django
from django import forms
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse, StreamingHttpResponse
from django.shortcuts import redirect
from django.template import engines
from django.urls import path
from django.views.decorators.http import require_POST

settings.configure(
    SECRET_KEY=os.environ["SECRET_KEY"],
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
    ],
    SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates"}],
)
django.setup()

PAGE = """<!doctype html>
<title>Notes</title>
<h1>Notes</h1>
<form method="post" action="/add">{% csrf_token %}{{ form.as_p }} <button>Add</button></form>
<ol>{% for note in notes %}<li>{{ note }}</li>{% endfor %}</ol>
<p><a href="/notes.txt">as text</a></p>
"""


class NoteForm(forms.Form):
    text = forms.CharField(max_length=200)


def index(request):
    page = engines["django"].from_string(PAGE)
    notes = request.session.get("notes", [])
    return HttpResponse(page.render({"form": NoteForm(), "notes": notes}, request))


@require_POST
def add(request):
    form = NoteForm(request.POST)
    if not form.is_valid():
        return HttpResponse("a note has 1 to 200 characters", status=400)
    # The session is a cookie: keep it small.
    request.session["notes"] = request.session.get("notes", [])[-9:] + [
        form.cleaned_data["text"]
    ]
    return redirect("/")


def as_text(request):
    notes = request.session.get("notes", [])
    lines = (f"{number}. {note}\n" for number, note in enumerate(notes, 1))
    return StreamingHttpResponse(lines, content_type="text/plain; charset=utf-8")


urlpatterns = [path("", index), path("add", add), path("notes.txt", as_text)]

application = get_wsgi_application()
