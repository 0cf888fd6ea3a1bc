"""Figures, photos and videos of lessons: for signed-in people only, and never as documents that could run."""

from __future__ import annotations

import re

from django.contrib.auth.decorators import login_required
from django.http import FileResponse, HttpRequest, HttpResponse, HttpResponseNotModified
from django.shortcuts import get_object_or_404
from django.views.decorators.http import require_safe
from wagtail.documents import get_document_model
from wagtail.images import get_image_model

from courses.models import Figure

SANDBOX = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
VIDEO_TYPES = {"mp4": "video/mp4", "webm": "video/webm", "m4v": "video/mp4"}
RANGE = re.compile(r"^bytes=(\d+)-(\d*)$")
PIECE = 2 * 1024 * 1024  # bytes of video in one answer


@login_required
@require_safe
def figure(request: HttpRequest, digest: str) -> HttpResponse:
    """A drawing by its hash: it never changes, so browsers may keep it. Opened alone it is boxed in: no script, no frame."""
    if request.headers.get("If-None-Match") == f'"{digest}"':
        return HttpResponseNotModified()
    found = get_object_or_404(Figure, digest=digest)
    response = HttpResponse(found.svg, content_type="image/svg+xml; charset=utf-8")
    response["Content-Security-Policy"] = SANDBOX
    response["Cache-Control"] = "private, max-age=31536000, immutable"
    response["ETag"] = f'"{digest}"'
    response["Content-Disposition"] = 'inline; filename="figure.svg"'
    return response


@login_required
@require_safe
def photo(request: HttpRequest, pk: int) -> HttpResponse:
    """A photo, at most 1200 pixels wide, without what the camera wrote into it."""
    image = get_object_or_404(get_image_model(), pk=pk)
    rendition = image.get_rendition("width-1200|format-webp")
    response = FileResponse(rendition.file.open("rb"), content_type="image/webp")
    response["Cache-Control"] = "private, max-age=86400"
    response["Content-Security-Policy"] = SANDBOX
    return response


@login_required
@require_safe
def video(request: HttpRequest, pk: int) -> HttpResponse:
    """A video in pieces, so that people can jump in it and phones load only what they play."""
    document = get_object_or_404(get_document_model(), pk=pk)
    kind = VIDEO_TYPES.get(document.file_extension.lower())
    if kind is None:
        return HttpResponse(status=415)
    size = document.file.size
    asked = RANGE.match(request.headers.get("Range", ""))
    if asked is None:
        response: HttpResponse = FileResponse(document.file.open("rb"), content_type=kind)  # type: ignore[assignment]
        response["Content-Length"] = str(size)
    else:
        first = int(asked[1])
        last = min(int(asked[2]) if asked[2] else size - 1, size - 1, first + PIECE - 1)
        if first > last:
            return HttpResponse(status=416, headers={"Content-Range": f"bytes */{size}"})
        with document.file.open("rb") as source:
            source.seek(first)
            response = HttpResponse(source.read(last - first + 1), status=206, content_type=kind)
        response["Content-Range"] = f"bytes {first}-{last}/{size}"
    response["Accept-Ranges"] = "bytes"
    response["Content-Security-Policy"] = SANDBOX
    response["Content-Disposition"] = "inline"
    return response
