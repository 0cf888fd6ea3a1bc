from __future__ import annotations

import factory
from factory.django import DjangoModelFactory

from lms.accounts.models import Industry, Membership, Organisation, Region, User
from lms.accounts.rules import Role
from lms.accounts.uscc import check_character


class RegionFactory(DjangoModelFactory):
    class Meta:
        model = Region
        django_get_or_create = ("code",)

    code = "330681"
    name = factory.LazyAttribute(lambda o: f"地区{o.code}")
    level = factory.LazyAttribute(lambda o: 1 if o.code.endswith("0000") else 2 if o.code.endswith("00") else 3)
    full_name = factory.LazyAttribute(lambda o: f"全称{o.code}")


class IndustryFactory(DjangoModelFactory):
    class Meta:
        model = Industry
        django_get_or_create = ("code",)

    code = "15"
    section = "C"
    name = "酒、饮料和精制茶制造业"


class OrganisationFactory(DjangoModelFactory):
    class Meta:
        model = Organisation

    kind = Organisation.Kind.ENTERPRISE
    name = factory.Sequence(lambda n: f"第{n}工厂")
    region = factory.SubFactory(RegionFactory)
    industry = factory.SubFactory(IndustryFactory)
    size = Organisation.Size.SMALL

    @factory.lazy_attribute_sequence
    def uscc(self, n: int) -> str | None:
        if self.kind != Organisation.Kind.ENTERPRISE:
            return None
        body = f"91330681MA2T{n:05}"
        return body + check_character(body)


class UserFactory(DjangoModelFactory):
    class Meta:
        model = User
        skip_postgeneration_save = True

    username = factory.Sequence(lambda n: f"user{n}")
    name = factory.Sequence(lambda n: f"张{n}")


class MembershipFactory(DjangoModelFactory):
    class Meta:
        model = Membership

    user = factory.SubFactory(UserFactory)
    organisation = factory.SubFactory(OrganisationFactory)
    role = Role.LEARNER
