"""Regions, reporting units and industries: what organisations stand in."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from lms.accounts.models import Industry, Region, ReportingUnit
from lms.accounts.regions import load_places


class Command(BaseCommand):
    help = "Load regions (GB/T 2260), reporting units and industries (GB/T 4754); a second run only corrects names"

    def handle(self, *args: Any, **options: Any) -> None:
        load_places()
        self.stdout.write(
            f"{Region.objects.count()} regions, {ReportingUnit.objects.count()} reporting units,"
            f" {Industry.objects.count()} industries"
        )
