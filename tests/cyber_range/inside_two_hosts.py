"""The web machine of the two-hosts test, in a process of its own: answers one JSON line for each JSON line it reads.

It reaches neither range-host's socket: whatever it knows of ranges came through the workers beside them."""

from __future__ import annotations

import json
import sys
import traceback
from typing import Any

import django

django.setup()

from django.utils import timezone  # noqa: E402  apps must be ready first

from cyber_range import hosting  # noqa: E402  apps must be ready first
from cyber_range import services as ranges  # noqa: E402  apps must be ready first
from cyber_range.models import Instance, RangeHost  # noqa: E402  apps must be ready first
from drills import log, services  # noqa: E402  apps must be ready first
from drills.models import Drill, DrillEvent  # noqa: E402  apps must be ready first
from lms.accounts.models import Organisation, User  # noqa: E402  apps must be ready first
from lms.jobs.models import Job  # noqa: E402  apps must be ready first
from tests.factories.accounts import MembershipFactory, OrganisationFactory, UserFactory  # noqa: E402

SCENARIO = "filling_line"


def hosts() -> dict[str, Any]:
    return {
        host.name: {
            "state": host.state, "queue": host.queue, "driver": host.driver, "capacity": host.capacity,
            "here": host.here, "lost": host.lost, "served": host.served, "duty": host.duty, "trouble": host.trouble,
        }
        for host in RangeHost.objects.all()
    }  # fmt: skip


def plan() -> int:
    factory = OrganisationFactory()
    white, blue = UserFactory(name="导调员"), UserFactory(name="蓝一")
    MembershipFactory(user=white, organisation=factory, role="security")
    MembershipFactory(user=blue, organisation=factory, role="learner")
    drill = services.plan_drill(
        title="两台主机的演练", organisation=factory, by=white, scenario=SCENARIO, scheduled_at=timezone.now(),
        scope="灌装车间", duration_minutes=60, seed="seed", seats=[(white, "white"), (blue, "blue_analyst")],
    )  # fmt: skip
    for person in (white, blue):
        services.take_seat(drill=drill, user=person)
    return drill.pk


def _white(drill: Drill) -> User:
    return User.objects.get(name="导调员")


def launch(again: bool = False) -> str:
    drill = Drill.objects.get()
    (services.relaunch_range if again else services.launch_range)(drill=drill, by=_white(drill))
    return Drill.objects.select_related("instance__host").get().instance.host.name


def start() -> None:
    drill = Drill.objects.get()
    services.start(drill=drill, by=_white(drill))


def note(text: str) -> None:
    drill = Drill.objects.get()
    services.note(drill=drill, seat=drill.seats.get(user__name="蓝一"), text=text)


def drill() -> dict[str, Any]:
    found = Drill.objects.select_related("instance__host").get()
    state = log.full_state(found)
    one = found.instance
    rows = list(
        DrillEvent.objects.filter(drill=found).order_by("seq").values_list("seq", "kind", "source", "source_number")
    )
    return {
        "phase": state.phase, "lab": state.lab.state, "lab_reason": state.lab.reason, "earlier": len(state.lab.earlier),
        "instance": one and {
            "state": one.state, "reason": one.reason, "host": one.host.name, "silent": one.silent_since is not None,
            "range_id": one.range_id, "seed": one.seed,
        },
        "log": [[seq, kind] for seq, kind, _source, _number in rows],
        "copied": {
            source: [number for _seq, _kind, whose, number in rows if whose == source]
            for source in {row[2] for row in rows if row[2]}
        },
    }  # fmt: skip


def practice() -> dict[str, Any]:
    organisation = Organisation.objects.get()
    instance, job = ranges.request_range(
        scenario=SCENARIO, organisation=organisation, by=User.objects.get(name="导调员")
    )
    return {"pk": instance.pk, "job": job.pk, "host": instance.host.name, "range_id": instance.range_id}


def relaunch(pk: int) -> dict[str, Any]:
    instance, _job = ranges.relaunch(instance=Instance.objects.get(pk=pk), by=User.objects.get(name="导调员"))
    return {"pk": instance.pk, "host": instance.host.name}


def instance(pk: int) -> dict[str, Any]:
    one = Instance.objects.select_related("host").get(pk=pk)
    return {
        "state": one.state, "reason": one.reason, "host": one.host.name, "lost": one.lost, "range_id": one.range_id,
        "driver": one.driver,
    }  # fmt: skip


def job(pk: int) -> dict[str, Any]:
    one = Job.objects.get(pk=pk)
    return {"state": one.state, "queue": one.queue, "error": one.error, "step": one.step}


def duty(host: str, wanted: str) -> None:
    hosting.set_duty(host=RangeHost.objects.get(name=host), duty=wanted, by=User.objects.get(name="导调员"))


VERBS = {
    one.__name__: one for one in (hosts, plan, launch, start, note, drill, practice, relaunch, instance, job, duty)
}
for line in sys.stdin:
    asked = json.loads(line)
    try:
        answer = {"ok": VERBS[asked["verb"]](*asked["args"])}
    except Exception as fault:  # told to the test, which decides
        answer = {"fault": f"{type(fault).__name__}: {fault}", "trace": traceback.format_exc()}
    sys.stdout.write(json.dumps(answer, ensure_ascii=False, default=str) + "\n")
    sys.stdout.flush()
