import hashlib

from django.contrib import admin
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


urlpatterns = [
    path("", index),
    path("admin/", admin.site.urls),
    path("upload", upload),
    path("guarded", guarded),
    path("stream", stream),
    path("fail", fail),
    re_path(r"^static/(?P<path>.*)$", serve, {"insecure": True}),
]
