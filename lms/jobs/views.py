"""The screen 任务: what I asked for, how far it is, and what to do when it failed."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.cache import never_cache
from django.views.decorators.vary import vary_on_headers

from lms.jobs.models import Job


@login_required
def job_list(request: HttpRequest) -> HttpResponse:
    """Newest first. Each card that is not ended renews itself."""
    page = Paginator(Job.objects.visible_to(request.user), 25).get_page(request.GET.get("page"))
    return render(request, "jobs/list.html", {"page": page})


@login_required
@never_cache
@vary_on_headers("HX-Request")
def job_card(request: HttpRequest, pk: int) -> HttpResponse:
    """One job as a card that renews itself while it runs; pages that start slow work include it. With ?follow the page
    goes on to the result when it is there."""
    job = get_object_or_404(Job.objects.visible_to(request.user), pk=pk)
    template = "jobs/_card.html" if request.htmx else "jobs/detail.html"
    return render(request, template, {"job": job, "follow": bool(request.htmx) and "follow" in request.GET})
