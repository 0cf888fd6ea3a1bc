"""Slow verbs of certification. Each fetches by id and calls one service; each may run twice."""

from __future__ import annotations

from datetime import date
from typing import Any

from certification import services
from certification.models import Application, Credential
from lms.jobs.models import Job
from lms.jobs.work import job_task


@job_task("certification.decide")
def decide(job: Job) -> dict[str, Any]:
    application = Application.objects.get(pk=job.args["application"])
    decision = services.decide(application=application)
    return {"decision": decision.number if decision else None, "met": bool(decision and decision.met)}


@job_task("certification.document")
def document(job: Job) -> dict[str, Any]:
    credential = services.render_document(credential=Credential.objects.get(pk=job.args["credential"]))
    return {"bytes": credential.document.size}


@job_task("certification.rollup")
def rollup(job: Job) -> dict[str, Any]:
    return {"cells": services.build_rollup(day=date.fromisoformat(job.args["day"]))}
