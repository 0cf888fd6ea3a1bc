from __future__ import annotations

from datetime import timedelta

import factory
from django.utils import timezone
from factory.django import DjangoModelFactory

from drills.models import Drill, Finding
from tests.factories.accounts import OrganisationFactory, UserFactory


class DrillFactory(DjangoModelFactory):
    """A bare row without a log; drills with one are made by `services.plan_drill`."""

    class Meta:
        model = Drill

    title = factory.Sequence(lambda n: f"第{n}次演练")
    organisation = factory.SubFactory(OrganisationFactory)
    scope = "灌装车间"
    incident_class = "NAEXPLOIT"
    scheduled_at = factory.LazyFunction(lambda: timezone.now() + timedelta(days=1))
    scenario = "mini"
    seed = "seed"
    team = "org1"


class FindingFactory(DjangoModelFactory):
    class Meta:
        model = Finding

    drill = factory.SubFactory(DrillFactory)
    title = factory.Sequence(lambda n: f"问题{n}")
    measure = "补充规则"
    owner = factory.SubFactory(UserFactory)
    due = factory.LazyFunction(lambda: timezone.localdate() + timedelta(days=7))
