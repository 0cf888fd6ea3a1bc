"""The trainer's desk: the places and permissions teaching needs, and figures about questions."""

from __future__ import annotations

from django.contrib.auth.models import Group, Permission
from django.db import transaction
from wagtail.models import (
    Collection,
    GroupApprovalTask,
    GroupCollectionPermission,
    GroupPagePermission,
    Page,
    Site,
    Workflow,
    WorkflowPage,
    WorkflowTask,
)

from courses.domain.statistics import ItemFigures, item_figures
from courses.models import CatalogueIndexPage, ExamAnswer, Paper
from courses.rules import REVIEWERS, TRAINERS
from lms.accounts.models import Membership
from lms.accounts.rules import Role

WORKFLOW = "课程审核"
SLUG = "learn"  # the address that courses.urls shares: what it does not know falls through to pages


def catalogue() -> CatalogueIndexPage:
    """The one catalogue page, made when missing, under the site's root."""
    page = CatalogueIndexPage.objects.first()
    if page is not None:
        return page
    site = Site.objects.filter(is_default_site=True).select_related("root_page").first()
    if site is None:
        top = Page.objects.filter(depth=1).first() or Page.add_root(title="Root", slug="root")
        home = top.add_child(instance=Page(title="练兵", slug="home"))
        site = Site.objects.create(hostname="localhost", root_page=home, is_default_site=True, site_name="练兵")
    home = site.root_page
    if home.title.startswith("Welcome"):
        home.title = home.draft_title = "练兵"
        home.save()
    return home.add_child(instance=CatalogueIndexPage(title="课程目录", slug=SLUG))


@transaction.atomic
def prepare_teaching() -> CatalogueIndexPage:
    """Catalogue, groups, permissions and the review workflow. Again changes nothing.

    Trainers may add pages, which lets each edit what he wrote and nothing else; reviewers may change and publish. A trainer
    submits, a reviewer publishes: nobody approves alone what he wrote.
    """
    index = catalogue()
    trainers, _ = Group.objects.get_or_create(name=TRAINERS)
    reviewers, _ = Group.objects.get_or_create(name=REVIEWERS)
    pages = {
        p.codename: p
        for p in Permission.objects.filter(content_type__app_label="wagtailcore", content_type__model="page")
    }
    for group, codes in ((trainers, ["add_page"]), (reviewers, ["change_page", "publish_page"])):
        for code in codes:
            GroupPagePermission.objects.get_or_create(group=group, page=index, permission=pages[code])
    desk = Permission.objects.get(content_type__app_label="wagtailadmin", codename="access_admin")
    for group in (trainers, reviewers):
        group.permissions.add(desk)
    trainers.permissions.add(
        *Permission.objects.filter(
            content_type__app_label="courses",
            codename__in=[
                "add_question",
                "change_question",
                "view_question",
                "add_paper",
                "change_paper",
                "view_paper",
                "add_figure",
                "change_figure",
                "view_figure",
                "view_questionbank",
                "add_questionbank",
                "change_questionbank",
            ],
        )
    )
    root = Collection.get_first_root_node()
    if root is not None:
        uploads = Permission.objects.filter(
            content_type__app_label__in=["wagtaildocs", "wagtailimages"],
            codename__in=["add_document", "choose_document", "add_image", "choose_image"],
        )
        for permission in uploads:
            GroupCollectionPermission.objects.get_or_create(group=trainers, collection=root, permission=permission)
    _workflow(index, reviewers)
    return index


def _workflow(index: CatalogueIndexPage, reviewers: Group) -> None:
    workflow, _made = Workflow.objects.get_or_create(name=WORKFLOW, defaults={"active": True})
    task = GroupApprovalTask.objects.filter(name="审核人审核").first()
    if task is None:
        task = GroupApprovalTask.objects.create(name="审核人审核", active=True)
        task.groups.add(reviewers)
    WorkflowTask.objects.get_or_create(workflow=workflow, task=task.task_ptr, defaults={"sort_order": 0})
    WorkflowPage.objects.get_or_create(page=index, defaults={"workflow": workflow})


def align_groups() -> tuple[int, int]:
    """Wagtail knows groups, we know roles: whoever is a trainer now is in the group, whoever is not is out. (in, out)."""
    group = Group.objects.filter(name=TRAINERS).first()
    if group is None:
        return 0, 0
    wanted = set(
        Membership.objects.active().filter(role=Role.TRAINER, user__is_active=True).values_list("user_id", flat=True)
    )
    present = set(group.user_set.values_list("pk", flat=True))
    if wanted - present:
        group.user_set.add(*(wanted - present))
    if present - wanted:
        group.user_set.remove(*(present - wanted))
    return len(wanted - present), len(present - wanted)


def item_statistics(paper: Paper) -> dict[int, ItemFigures]:
    """Figures by question version, over every marked sitting of the paper. Names no one."""
    pairs: dict[int, list[tuple[float, float]]] = {}
    rows = ExamAnswer.objects.filter(session__paper=paper, session__state="submitted", share__isnull=False).values_list(
        "version_id", "share", "session__score"
    )
    for version, share, score in rows:
        pairs.setdefault(version, []).append((float(share), float(score)))
    return {version: item_figures(found) for version, found in pairs.items()}
