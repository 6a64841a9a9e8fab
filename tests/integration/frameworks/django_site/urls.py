import asyncio
import hashlib

import django
from asgiref.sync import sync_to_async
from django.contrib import admin
from django.contrib.auth import get_user_model
from django.contrib.staticfiles.views import serve
from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path, re_path
from django.views.decorators.csrf import csrf_exempt


def index(request):
    return HttpResponse(f"Django at {request.build_absolute_uri()}")


@csrf_exempt
def upload(request):
    sent = request.FILES["file"]
    digest = hashlib.sha256()
    for chunk in sent.chunks():
        digest.update(chunk)
    return JsonResponse({"name": sent.name, "size": sent.size, "sha": digest.hexdigest()})


def guarded(request):
    return HttpResponse("posted")


def stream(request):
    return StreamingHttpResponse((f"line {n}\n" for n in range(5000)), content_type="text/plain")


def fail(request):
    raise RuntimeError("django view failed")


async def together(request):
    """Answers when ?n requests are here."""
    TOGETHER.append(1)
    while len(TOGETHER) < int(request.GET["n"]):
        await asyncio.sleep(0.01)
    return HttpResponse(str(await sync_to_async(get_user_model().objects.count)()))


async def astream(request):
    async def lines():
        for number in range(1000):
            yield f"line {number}\n"

    made = lines() if django.VERSION >= (4, 2) else [f"line {n}\n" for n in range(1000)]
    return StreamingHttpResponse(made, content_type="text/plain")


TOGETHER = []
urlpatterns = [
    path("", index),
    path("admin/", admin.site.urls),
    path("upload", upload),
    path("guarded", guarded),
    path("stream", stream),
    path("fail", fail),
    path("together", together),
    path("astream", astream),
    re_path(r"^static/(?P<path>.*)$", serve, {"insecure": True}),
]
