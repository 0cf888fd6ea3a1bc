"""Pages of people: what each changes, and what the wrong person gets."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from datetime import timedelta
from io import BytesIO
from pathlib import Path

import pytest
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from openpyxl import load_workbook
from wagtail import hooks

from lms.accounts import services, sheets
from lms.accounts.models import AuditEntry, Consent, Invitation, Membership, Organisation, User
from tests.factories.accounts import MembershipFactory, OrganisationFactory
from tests.lms.accounts.test_sheets import book

pytestmark = pytest.mark.django_db
Member = Callable[..., User]
SignedIn = Callable[[User], Client]
PASSWORD = "quiet-river-29"


@pytest.fixture(autouse=True)
def _own_files_and_no_tries(settings: object, tmp_path: Path) -> None:
    settings.MEDIA_ROOT = tmp_path
    cache.clear()


@pytest.fixture
def place() -> Organisation:
    return OrganisationFactory(name="清泉饮料有限公司", short_name="清泉饮料", staff_count=62)


@pytest.fixture
def admin(member: Member, place: Organisation) -> User:
    return member("admin", organisation=place, username="boss", name="王建国")


@pytest.fixture
def office(signed_in: SignedIn, admin: User) -> Client:
    return signed_in(admin)


def url(name: str, *args: object) -> str:
    return reverse(f"accounts:{name}", args=args)


def text(response: object) -> str:
    return response.content.decode()


@pytest.mark.parametrize("name", ["dossier", "staff", "invite", "staff_import", "staff_xlsx", "me", "my_data"])
def test_pages_send_strangers_to_sign_in(client: Client, name: str) -> None:
    response = client.get(url(name))

    assert (response.status_code, response.url) == (302, f"/accounts/login/?next={url(name)}")


@pytest.mark.parametrize("name", ["dossier", "staff", "invite", "staff_import", "staff_xlsx"])
@pytest.mark.parametrize("role", ["learner", "security", "trainer", "assessor", "officer"])
def test_pages_of_the_admin_say_whom_to_ask(member: Member, signed_in: SignedIn, name: str, role: str) -> None:
    response = signed_in(member(role)).get(url(name))

    assert response.status_code == 403
    assert "企业管理员" in text(response)


@pytest.mark.parametrize("name", ["person", "new_code", "release"])
@pytest.mark.parametrize("method", ["get", "post"])
def test_pages_of_a_person_elsewhere_do_not_exist(office: Client, member: Member, name: str, method: str) -> None:
    stranger = member()
    before = (Invitation.objects.count(), Membership.objects.filter(ended_at=None).count())

    response = getattr(office, method)(url(name, stranger.pk), {"name": stranger.name})

    assert response.status_code == 404
    assert (Invitation.objects.count(), Membership.objects.filter(ended_at=None).count()) == before


def test_dossier_shows_the_enterprise_and_its_staff(office: Client, place: Organisation, member: Member) -> None:
    member(organisation=place)

    page = text(office.get(url("dossier")))

    assert "<h1>企业档案</h1>" in page
    assert "清泉饮料有限公司" in page
    assert re.search(r"<b class=\"h2\">2</b>\s*人已开通账号", page)


@pytest.mark.parametrize("path", ["dossier", "staff", "me"])
def test_lists_cost_the_same_for_one_and_three(office: Client, place: Organisation, member: Member, path: str) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as seen:
            assert office.get(url(path)).status_code == 200
        return len(seen)

    member("learner", organisation=place)
    queries()
    one = queries()
    for _ in range(2):
        member("learner", "security", organisation=place)

    assert queries() == one


def test_staff_finds_by_words_and_role(office: Client, place: Organisation, member: Member) -> None:
    member(organisation=place, name="吴海峰", job_title="设备主管")
    member("security", organisation=place, name="赵磊", job_title="工程师")
    member(name="外人")

    def found(**query: str) -> set[str]:
        return set(re.findall(r"<th scope=\"row\"><a [^>]*>([^<]+)", text(office.get(url("staff"), query))))

    assert found() == {"王建国", "吴海峰", "赵磊"}
    assert found(q="设备") == {"吴海峰"}
    assert found(role="security") == {"赵磊"}
    assert found(role="nonsense") == {"王建国", "吴海峰", "赵磊"}
    assert found(q="没有此人") == set()


def test_staff_answers_htmx_with_rows_and_history_with_the_page(office: Client) -> None:
    rows = office.get(url("staff"), headers={"hx-request": "true"})
    page = office.get(url("staff"), headers={"hx-request": "true", "hx-history-restore-request": "true"})

    assert text(rows).lstrip().startswith('<div id="staff">')
    assert "<!doctype html>" in text(page)
    assert "HX-Request" in rows.headers["Vary"]


def test_invite_shows_the_code_once_with_a_picture(office: Client, place: Organisation) -> None:
    response = office.post(
        url("invite"), {"username": "chen", "name": "陈晓燕", "job_title": "班长", "phone": "", "roles": ["learner"]}
    )

    (code,) = re.findall(r"<code>([A-Z0-9-]{14})</code>", text(response))
    assert Invitation.objects.get().code_hash == services.hash_code(code)
    assert 'src="data:image/svg+xml' in text(response)
    assert "no-store" in response.headers["Cache-Control"]
    assert Membership.objects.get(user__username="chen").organisation == place


def test_invite_with_faults_says_them_at_the_fields(office: Client) -> None:
    response = office.post(url("invite"), {"username": "a b", "name": "", "phone": "电话", "roles": ["officer"]})

    page = text(response)
    assert response.status_code == 422
    assert "有 4 处需要改正" in page
    assert re.search(
        r"<input[^>]*aria-describedby=\"id_username-help id_username-errors\"[^>]*id=\"id_username\"", page
    )
    assert User.objects.count() == 1


def test_person_page_changes_name_and_roles(office: Client, place: Organisation, member: Member) -> None:
    worker = member(organisation=place, username="wu")

    response = office.post(
        url("person", worker.pk), {"name": "吴海峰", "job_title": "主管", "phone": "", "roles": ["learner", "trainer"]}
    )

    worker = User.objects.get(pk=worker.pk)
    assert response.url == url("staff")
    assert (worker.name, worker.job_title, worker.username) == ("吴海峰", "主管", "wu")
    assert set(worker.memberships.active().values_list("role", flat=True)) == {"learner", "trainer"}


def test_person_page_keeps_the_last_admin(office: Client, admin: User) -> None:
    response = office.post(url("person", admin.pk), {"name": "王建国", "roles": ["learner"]})

    assert response.status_code == 422
    assert "至少要留一名企业管理员" in text(response)
    assert admin.memberships.active().get().role == "admin"


def test_new_code_by_post_alone(office: Client, place: Organisation, member: Member) -> None:
    worker = member(organisation=place)

    asked = office.get(url("new_code", worker.pk))
    made = office.post(url("new_code", worker.pk))

    assert asked.url == url("person", worker.pk)
    assert Invitation.objects.count() == 1
    assert re.search(r"<code>[A-Z0-9-]{14}</code>", text(made))


def test_new_code_is_refused_for_who_belongs_elsewhere_too(office: Client, place: Organisation, member: Member) -> None:
    worker = member(organisation=place)
    MembershipFactory(user=worker)

    response = office.post(url("new_code", worker.pk), follow=True)

    assert "不能代为重设密码" in text(response)
    assert Invitation.objects.count() == 0


def test_release_asks_for_the_name(office: Client, place: Organisation, member: Member) -> None:
    worker = member(organisation=place, name="韩雪")

    wrong = office.post(url("release", worker.pk), {"name": "韩梅"})
    still_here = worker.memberships.active().exists()
    right = office.post(url("release", worker.pk), {"name": " 韩雪 "})

    assert (wrong.status_code, still_here) == (422, True)
    assert right.url == url("staff")
    assert not worker.memberships.active().exists()


def test_export_is_a_sheet_of_the_own_people_and_is_recorded(office: Client, admin: User, member: Member) -> None:
    member(name="外人")

    response = office.get(url("staff_xlsx"))

    page = load_workbook(BytesIO(response.content)).active
    assert [[c.value for c in line] for line in page.iter_rows(min_row=2)] == [
        ["boss", "王建国", None, None, "企业管理员"]
    ]
    assert response.headers["Content-Disposition"].startswith("attachment; filename*=utf-8''")
    assert AuditEntry.objects.get(action="staff.exported").actor == admin


def upload(office: Client, *rows: list[object]) -> object:
    file = book(*rows)
    file.name = "员工.xlsx"
    return office.post(url("staff_import"), {"file": file})


def test_import_shows_first_and_writes_on_confirmation(office: Client, tmp_path: Path) -> None:
    shown = upload(office, ["chen", "陈晓燕", "班长", "", "员工"])
    (token,) = re.findall(r'name="apply" value="([^"]+)"', text(shown))
    before = User.objects.filter(username="chen").exists()

    done = office.post(url("staff_import"), {"apply": token})
    again = office.post(url("staff_import"), {"apply": token})

    assert (before, User.objects.filter(username="chen").count()) == (False, 1)
    assert re.search(r"<code>[A-Z0-9-]{14}</code>", text(done))
    assert again.url == url("staff")
    assert list((tmp_path / "imports").iterdir()) == []
    assert AuditEntry.objects.get(action="staff.imported").detail == {"made": 1, "rows": 1}


def test_import_offers_no_confirmation_and_keeps_no_file_for_wrong_or_empty_files(
    office: Client, tmp_path: Path
) -> None:
    wrong = upload(office, ["chen", "", "", "", ""])
    same = upload(office, ["boss", "王建国", "", "", ""])
    empty = upload(office)

    assert 'name="apply"' not in text(wrong) + text(same) + text(empty)
    assert "请先改正有错的行" in text(wrong)
    assert "没有需要导入的变化" in text(same)
    assert (empty.status_code, "没有填写任何人" in text(empty)) == (422, True)
    assert not (tmp_path / "imports").exists()


def test_import_s_token_is_the_person_s_own(
    office: Client, place: Organisation, member: Member, signed_in: SignedIn
) -> None:
    (token,) = re.findall(r'name="apply" value="([^"]+)"', text(upload(office, ["chen", "陈", "", "", ""])))
    colleague = signed_in(member("admin", organisation=place))

    for client in (colleague, signed_in(member("admin"))):
        assert client.post(url("staff_import"), {"apply": token}).url == url("staff_import")
    assert not User.objects.filter(username="chen").exists()


def test_import_throws_away_what_nobody_confirmed(office: Client, tmp_path: Path) -> None:
    upload(office, ["chen", "陈", "", "", ""])
    (old,) = (tmp_path / "imports").iterdir()
    past = (timezone.now() - timedelta(hours=2)).timestamp()
    os.utime(old, (past, past))

    upload(office, ["chen", "陈", "", "", ""])

    assert old not in list((tmp_path / "imports").iterdir())
    assert len(list((tmp_path / "imports").iterdir())) == 1


@pytest.mark.parametrize(
    ("name", "content"), [("a.xls", b"PK\x03\x04"), ("a.xlsx", b"%PDF"), ("a.xlsx", b"PK\x03\x04..")]
)
def test_import_refuses_other_files(office: Client, name: str, content: bytes) -> None:
    file = BytesIO(content)
    file.name = name

    response = office.post(url("staff_import"), {"file": file})

    assert response.status_code == 422
    assert 'id="id_file-errors"' in text(response)


@pytest.fixture
def code(place: Organisation, admin: User) -> str:
    values = {"username": "chen", "name": "陈晓燕", "job_title": "", "phone": "", "roles": ["learner"]}
    return services.invite(place, by=admin, **values)[1]


def joining(client: Client, code: str, password: str = PASSWORD, consent: str = "on") -> object:
    return client.post(url("join"), {"code": code, "password": password, "consent": consent})


def test_join_signs_in(client: Client, code: str) -> None:
    response = joining(client, code)

    assert response.url == "/"
    assert client.session["_auth_user_id"] == str(User.objects.get(username="chen").pk)


def test_join_with_a_wrong_code_tells_nothing_and_is_limited_by_failures_alone(client: Client, code: str) -> None:
    for _ in range(10):
        weak = joining(client, code, password="short")
    assert (weak.status_code, "密码太短，至少要 10 个字符。" in text(weak)) == (422, True)

    told = {joining(client, f"AAAA-BBBB-{n:04}").status_code for n in range(10)}
    after = joining(client, code)

    assert told == {422}
    assert after.status_code == 429
    assert "加入码连续输错多次" in text(after)
    assert not User.objects.get(username="chen").has_usable_password()


def test_join_does_not_stand_for_the_second_step(client: Client, code: str) -> None:
    user = User.objects.get(username="chen")
    TOTP.activate(user, generate_totp_secret())

    response = joining(client, code)

    assert response.url == "/accounts/login/"
    assert "_auth_user_id" not in client.session


def test_join_and_sign_in_speak_the_chosen_language(client: Client, code: str) -> None:
    User.objects.filter(username="chen").update(language="en")

    joined = joining(client, code)
    client.logout()
    client.cookies.clear()
    entered = client.post("/accounts/login/", {"login": "chen", "password": PASSWORD})

    assert joined.cookies["django_language"].value == "en"
    assert entered.cookies["django_language"].value == "en"


def test_me_changes_contact_and_language_and_nothing_else(member: Member, signed_in: SignedIn) -> None:
    person = member(username="chen", name="陈晓燕")
    client = signed_in(person)

    response = client.post(
        url("me"), {"phone": "138", "email": "a@b.cn", "language": "en", "name": "别人", "is_superuser": "on"}
    )
    bad = response.status_code
    done = client.post(url("me"), {"phone": "13800000000", "email": "a@b.cn", "language": "en", "name": "别人"})

    person = User.objects.get(pk=person.pk)
    assert (bad, done.url) == (422, url("me"))
    assert (person.phone, person.email, person.language, person.name) == ("13800000000", "a@b.cn", "en", "陈晓燕")
    assert not person.is_superuser
    assert done.cookies["django_language"].value == "en"


def test_me_tells_recent_actions_in_words(office: Client) -> None:
    office.get(url("staff_xlsx"))

    page = text(office.get(url("me")))

    assert "导出员工名单" in page
    assert "staff.exported" not in page


def test_my_data_holds_every_app_s_part_of_oneself_alone(office: Client, admin: User, member: Member) -> None:
    other = member(username="other-person")
    with hooks.register_temporarily("personal_data", lambda user: {"courses": {"of": user.username}}):
        response = office.get(url("my_data"))

    data = json.loads(response.content)
    assert data["accounts"]["profile"]["username"] == "boss"
    assert data["courses"] == {"of": "boss"}
    assert other.username not in text(response)
    assert AuditEntry.objects.get(action="profile.downloaded").actor == admin


def test_consent_is_withdrawn_after_a_word_and_given_anew(member: Member, signed_in: SignedIn) -> None:
    person = member()
    client = signed_in(person)
    consent = services.give_consent(person, purpose="service", version="2026-11", ip=None)

    asked = client.get(url("withdraw", consent.pk))
    standing = Consent.objects.get().withdrawn_at
    client.post(url("withdraw", consent.pk))
    offered = url("agree") in text(client.get(url("me")))
    client.post(url("agree"))

    assert (asked.status_code, standing, offered) == (200, None, True)
    assert Consent.objects.filter(user=person, withdrawn_at=None).count() == 1
    assert Consent.objects.exclude(withdrawn_at=None).get() == consent
    assert f'action="{url("agree")}"' not in text(client.get(url("me")))


def test_consent_of_another_does_not_exist(office: Client, member: Member) -> None:
    consent = services.give_consent(member(), purpose="service", version="2026-11", ip=None)

    assert office.post(url("withdraw", consent.pk)).status_code == 404
    assert Consent.objects.get().withdrawn_at is None


def test_sheet_columns_are_those_of_the_form() -> None:
    assert len(sheets.COLUMNS) == len(sheets.FIELDS)


def test_who_withdrew_sees_nothing_but_the_own_data_until_agreeing_anew(member: Member, signed_in: SignedIn) -> None:
    person, other = member("learner"), member("learner")
    consent = Consent.objects.create(user=person, purpose="service", version="1")
    client, neighbour = signed_in(person), signed_in(other)
    before = client.get(url("dossier")).status_code
    erased: list[tuple[str, str]] = []
    with hooks.register_temporarily(
        "erase_personal_data", lambda user, by: erased.append((user.username, by.username))
    ):
        client.post(url("withdraw", consent.pk))

    shut = client.get("/learn/")
    pushed = client.post(url("choose_organisation"), {"organisation": 1})
    own = [client.get(url("me")).status_code, client.get(url("my_data")).status_code]
    others = neighbour.get("/learn/")
    client.post(url("agree"))
    anew = client.get(url("dossier")).status_code

    assert (shut.status_code, shut.headers["Location"], pushed.status_code) == (302, url("me"), 403)
    assert (own, others.headers.get("Location") == url("me")) == ([200, 200], False)
    assert (anew, erased) == (before, [(person.username, person.username)])
