"""The whole main job through the services the screens use. Started by `lianbing tour`, which prepares database and processes."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from certification.management.tour import award, drilling, learning
from certification.management.tour.steps import Diary, NotSo
from lms.accounts.models import Organisation, User


class Command(BaseCommand):
    help = "Self-assessment, plan, course, exam, drill, certificate, count: each really done and read again"

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--driver", default="auto", help="the driver the range must be on")
        parser.add_argument("--speed", type=float, default=4.0)
        parser.add_argument("--json", type=Path)

    def handle(self, *args: Any, **options: Any) -> None:
        diary = Diary(say=self.say)
        try:
            self.travel(diary, driver=options["driver"], speed=options["speed"])
        except NotSo as fault:
            raise CommandError(f"✗ {fault}") from fault
        finally:
            if options["json"]:
                steps = [asdict(step) for step in diary.steps]
                options["json"].write_text(json.dumps(steps, ensure_ascii=False, indent=1, default=str))
        total = sum(step.seconds for step in diary.steps)
        self.stdout.write(f"全部 {len(diary.steps)} 步都真的发生了，共 {total:.0f} 秒")

    def say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()

    def travel(self, diary: Diary, *, driver: str, speed: float) -> None:
        people = {user.username: user for user in User.objects.filter(is_demo=True)}
        factory = Organisation.objects.get(kind=Organisation.Kind.ENTERPRISE, is_demo=True)
        admin, officer, assessor = people["admin"], people["officer"], people["assessor"]
        before = award.count(officer=officer)
        learning.assess(diary, factory=factory, admin=admin)
        learner = learning.newcomer(diary, factory=factory, admin=admin)
        course = learning.study(diary, user=learner)
        learning.sit_exam(diary, user=learner, course=course)
        award.refuse_early(diary, user=learner)
        team = drilling.Team(white=people["trainer"], learner=learner, analyst=people["security"])
        drill = drilling.plan_and_launch(diary, factory=factory, team=team, speed=speed, driver=driver)
        last = drilling.fight(diary, drill=drill, team=team)
        drilling.reread(diary, drill=drill, last=last)
        drilling.finish(diary, drill=drill, team=team)
        credential = award.award(diary, user=learner, assessor=assessor)
        award.check_from_outside(diary, credential=credential)
        award.trace(diary, officer=officer, before=before, credential=credential, drill=drill)
