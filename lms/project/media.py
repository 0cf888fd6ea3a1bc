"""Pictures of the editor's own screens: what Wagtail writes as /media/… for thumbnails and avatars, and nothing else of the folder.

Everything that learners see has a view of its own that checks its own rule (lessons' photos, captures, certificates).
"""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.core.files.storage import default_storage
from django.http import FileResponse, Http404, HttpRequest, HttpResponse
from django.views.decorators.http import require_safe
from wagtail.images import get_image_model
from wagtail.users.models import UserProfile

KINDS = {"png": "image/png", "jpg": "image/jpeg", "jpeg": "image/jpeg", "gif": "image/gif", "webp": "image/webp", "avif": "image/avif"}  # fmt: skip


@login_required
@require_safe
def editor_picture(request: HttpRequest, name: str) -> HttpResponse:
    """For people who may open the editor: a rendition or an avatar that the books know by this name."""
    if not request.user.has_perm("wagtailadmin.access_admin"):
        raise PermissionDenied
    kind = KINDS.get(name.rpartition(".")[2].lower())
    images = get_image_model()
    known = kind and (
        images.get_rendition_model().objects.filter(file=name).exists()
        or UserProfile.objects.filter(avatar=name).exists()
    )
    if not known or not default_storage.exists(name):
        raise Http404
    response = FileResponse(default_storage.open(name, "rb"), content_type=kind)
    response["Cache-Control"] = "private, max-age=86400"
    response["Content-Security-Policy"] = "default-src 'none'; sandbox"
    return response
