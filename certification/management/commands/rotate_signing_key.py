"""`lianbing rotate-signing-key document`: a new key signs from now on; what the old one signed stays checkable."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from certification import services
from certification.models import SigningKey
from certification.signing import fingerprint


class Command(BaseCommand):
    help = "Retires the current signing key of a purpose and makes a new one; old public halves stay published."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("purpose", choices=SigningKey.Purpose.values)

    def handle(self, *args: Any, **options: Any) -> None:
        key = services.rotate_key(purpose=options["purpose"], by=None)
        self.stdout.write(f"new key {key.kid}")
        if key.certificate:
            self.stdout.write(f"SHA-256 {fingerprint(key.certificate)}")
