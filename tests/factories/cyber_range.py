from __future__ import annotations

import factory
from factory.django import DjangoModelFactory

from cyber_range.models import Instance, RangeHost
from tests.factories.accounts import OrganisationFactory


class RangeHostFactory(DjangoModelFactory):
    class Meta:
        model = RangeHost
        django_get_or_create = ("name",)

    name = "local"


class InstanceFactory(DjangoModelFactory):
    class Meta:
        model = Instance

    organisation = factory.SubFactory(OrganisationFactory)
    host = factory.SubFactory(RangeHostFactory)
    scenario = "mini"
    scenario_version = "1.0.0"
    scenario_hash = "0" * 64
    title = factory.Sequence(lambda n: f"靶场{n}")
    team = "org1"
