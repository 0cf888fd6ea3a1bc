"""An organisation's first admin: from then on it manages its people itself."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from lms.accounts import services
from lms.accounts.models import Industry, Organisation, Region
from lms.accounts.rules import Role
from lms.accounts.uscc import normalise_uscc


class Command(BaseCommand):
    help = "Open an organisation (or find it by name) and print a one-use joining code for its first admin"

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("organisation", help="full name")
        parser.add_argument("username")
        parser.add_argument("name", help="the admin's name")
        parser.add_argument("--kind", choices=Organisation.Kind.values, default=Organisation.Kind.ENTERPRISE)
        parser.add_argument("--region", help="six digits, e.g. 330681 (run load_places first)")
        parser.add_argument("--uscc", default="", help="unified social credit code; an enterprise needs it")
        parser.add_argument("--industry", default="", help="two digits of GB/T 4754, e.g. 15")

    @transaction.atomic
    def handle(self, *args: Any, **options: Any) -> None:
        try:
            organisation = Organisation.objects.filter(name=options["organisation"]).first() or self.open(options)
            user, code = services.invite(
                organisation,
                username=options["username"],
                name=options["name"],
                job_title="",
                phone="",
                roles=[Role.ADMIN],
                by=None,
            )
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from error
        self.stdout.write(f"{organisation.name}: {user.username} {code}")

    def open(self, options: dict[str, Any]) -> Organisation:
        region = Region.objects.filter(code=options["region"] or "").first()
        if region is None:
            raise CommandError(
                "--region: a known six-digit code is needed, e.g. 330681 (run `lianbing load-places` first)"
            )
        industry = Industry.objects.filter(code=options["industry"]).first() if options["industry"] else None
        if options["industry"] and industry is None:
            raise CommandError(f"--industry: no division {options['industry']} (run `lianbing load-places` first)")
        organisation = Organisation(
            kind=options["kind"],
            name=options["organisation"],
            region=region,
            industry=industry,
            uscc=normalise_uscc(options["uscc"]) or None,
        )
        organisation.full_clean()
        organisation.save()
        return organisation
