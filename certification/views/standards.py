"""A level of a standard in full: what a certificate of it stands for. Public, because badges point here."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_GET

from certification.models import StandardLevel, Weight


@require_GET
def standard(request: HttpRequest, code: str, version: str, level: str) -> HttpResponse:
    row = get_object_or_404(
        StandardLevel.objects.select_related("standard__occupation"),
        standard__code=code,
        standard__version=version,
        code=level,
    )
    functions = row.functions.prefetch_related("contents__requirements", "weights")
    weights = [
        {"function": function, **{weight.component: weight.pct for weight in function.weights.all()}}
        for function in functions
    ]
    return render(
        request,
        "certification/standard.html",
        {
            "level": row,
            "functions": functions,
            "weights": weights,
            "components": Weight.Component,
            "siblings": row.standard.levels.all(),
            "rule": row.rules.filter(active=True).first(),
        },
    )
