"""The queue. Tasks are found in each app's `tasks` module; services send them by name."""

from __future__ import annotations

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "lms.project.settings")
app = Celery("lianbing")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
