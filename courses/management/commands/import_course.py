"""`django-admin import_course FOLDER`: takes a course folder in, whole or not at all."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from courses.domain.packages import PackageError
from courses.services import import_course, prepare_teaching
from lms.accounts.models import User


class Command(BaseCommand):
    help = "导入课程文件夹（course.yml、lessons、figures、questions.yml、paper.yml）；内容没变时什么也不做。"

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("folder", type=Path)
        parser.add_argument("--owner", help="作者的用户名；题库归其培训机构")
        parser.add_argument("--draft", action="store_true", help="只存草稿，不发布")

    def handle(self, *args: Any, **options: Any) -> None:
        owner = None
        if options["owner"]:
            owner = User.objects.filter(username=options["owner"]).first()
            if owner is None:
                raise CommandError(f"没有用户 {options['owner']}")
        place = (
            owner.memberships.active().filter(role="trainer").select_related("organisation").first() if owner else None
        )
        prepare_teaching()
        try:
            done = import_course(
                options["folder"],
                by=owner,
                organisation=place.organisation if place else None,
                publish=not options["draft"],
            )
        except PackageError as faults:
            raise CommandError("\n".join(faults.faults)) from faults
        word = "已导入" if done.changed else "内容没有变化"
        self.stdout.write(f"{word}:《{done.course.title}》 {done.lessons} 课，试题 {done.questions} 道")
