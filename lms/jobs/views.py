"""The screen 任务: what I asked for, how far it is, and what to do when it failed."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render

from lms.jobs.models import Job


@login_required
def job_list(request: HttpRequest) -> HttpResponse:
    page = Paginator(Job.objects.visible_to(request.user), 25).get_page(request.GET.get("page"))
    template = "jobs/_rows.html" if request.htmx else "jobs/list.html"
    return render(
        request, template, {"page": page, "running": any(job.state in ("waiting", "running") for job in page)}
    )


@login_required
def job_card(request: HttpRequest, pk: int) -> HttpResponse:
    """One job as a card that renews itself while it runs; pages that start slow work include it."""
    job = get_object_or_404(Job.objects.visible_to(request.user), pk=pk)
    return render(request, "jobs/_card.html" if request.htmx else "jobs/detail.html", {"job": job})
