"""Takes self-assessment instruments in: those that come with the platform, or given files."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError

from lms.maturity import services


class Command(BaseCommand):
    help = "Load self-assessment instruments; the same data is taken once, other data becomes a new revision"

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("files", nargs="*", type=Path, help="YAML files; the packaged ones when none is given")

    def handle(self, *args: Any, **options: Any) -> None:
        for path in options["files"] or sorted(services.CONTENT.glob("instrument_*.yml")):
            try:
                version = services.load_instrument(path)
            except OSError as error:
                raise CommandError(f"{path}: {error.strerror}") from error
            except ValidationError as error:
                raise CommandError("\n".join(error.messages)) from error
            self.stdout.write(f"{path.name}: {version}")
