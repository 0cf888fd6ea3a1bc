"""The certificate after it was issued: printed, verified, badged, ended."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import logging
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse
from joserfc import jws
from joserfc.errors import BadSignatureError
from joserfc.jwk import KeySet
from pypdf import PdfReader

from certification import services
from certification.models import Application, Credential, SigningKey
from certification.sealing import SealError, seal, unseal
from certification.services.credentials import status_list_url, verification_url
from certification.tasks import document
from lms.accounts.models import Organisation, User
from lms.design.typeset import FAMILIES, fonts
from lms.jobs.models import Job

pytestmark = pytest.mark.django_db
CONTEXTS = Path(__file__).parent / "contexts"


# --- the printed one -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["蒋䶮", "沈𬭎", "𠮷田"])
def test_the_pdf_prints_rare_characters_and_comes_with_the_job(credential: Credential, name: str) -> None:
    Credential.objects.filter(pk=credential.pk).update(holder_name=name)
    job = Job.objects.get(task="certification.document")

    document(job.pk)
    document(job.pk)

    credential.refresh_from_db()
    job.refresh_from_db()
    reader = PdfReader(io.BytesIO(credential.document.read()))
    text = reader.pages[0].extract_text()
    assert job.state == "done"
    assert len(reader.pages) == 1
    assert name in text.replace(" ", "")
    assert credential.number in text
    assert services.check_code_of(credential) in text


def test_a_font_with_every_rare_character_is_among_those_used() -> None:
    assert set(FAMILIES) & set(fonts().families())


# --- check codes ------------------------------------------------------------------------------------------------------


def test_the_database_holds_no_readable_check_code_and_no_log_line_has_one(
    application: Application, caplog: pytest.LogCaptureFixture
) -> None:
    credential = Credential.objects.get()
    code = services.check_code_of(credential).replace("-", "")

    with caplog.at_level(logging.DEBUG):
        Client().post(reverse("certification:verify"), {"number": credential.number, "code": code})

    stored = json.dumps(list(Credential.objects.values()), default=lambda value: repr(value))
    assert code not in stored
    assert code not in caplog.text
    assert code not in verification_url(credential).split("#")[0]
    assert services.verify(number=credential.number.lower(), code=code.lower()) == credential
    assert services.verify(number=credential.number, code="0" * 13) is None


def test_a_seal_opens_only_for_its_use_and_with_a_key_that_is_known(settings: Any) -> None:
    sealed = seal(b"secret", use="check code")
    with pytest.raises(SealError):
        unseal(sealed, use="signing key")

    settings.SECRET_KEY_FALLBACKS, settings.SECRET_KEY = [settings.SECRET_KEY], "another"
    assert unseal(sealed, use="check code") == b"secret"
    settings.SECRET_KEY_FALLBACKS = []
    with pytest.raises(SealError, match="SECRET_KEY_FALLBACKS"):
        unseal(sealed, use="check code")


# --- the badge, looked at by a library that had no part in signing ----------------------------------------------------


def published_keys() -> KeySet:
    return KeySet.import_key_set(Client().get(reverse("certification:keys")).json())


def opened(token: str) -> dict[str, Any]:
    """Verified by joserfc against the published keys, whatever key the header offers."""
    found = jws.deserialize_compact(token, published_keys().keys[0], algorithms=["EdDSA"])
    return json.loads(found.payload)


def test_a_second_implementation_verifies_the_badge_against_the_published_key(credential: Credential) -> None:
    body = opened(credential.badge)

    head, payload, signature = credential.badge.split(".")
    raw = base64.urlsafe_b64decode(SigningKey.objects.get().public_jwk["x"] + "=")
    Ed25519PublicKey.from_public_bytes(raw).verify(
        base64.urlsafe_b64decode(signature + "=="), f"{head}.{payload}".encode()
    )
    assert body["type"] == ["VerifiableCredential", "OpenBadgeCredential"]
    assert body["issuer"]["id"].endswith(reverse("certification:issuer"))
    assert body["validUntil"][:10] == (credential.expires_on.isoformat())
    (alignment,) = body["credentialSubject"]["achievement"]["alignment"]
    assert alignment["targetCode"] == "ics-ops/2026.1/L1"
    assert [line["genre"] for line in body["evidence"]] == ["course", "exam", "drill"]


def test_a_badge_names_nobody_and_tells_nothing_of_the_drill_but_that_it_was_passed(credential: Credential) -> None:
    body = opened(credential.badge)
    text = json.dumps(body, ensure_ascii=False)
    (identity,) = body["credentialSubject"]["identifier"]

    for secret in (credential.holder_name, str(credential.person), credential.user.username, "灌装线演练", '"41"'):
        assert secret not in text
    assert (
        identity["identityHash"]
        == "sha256$" + hashlib.sha256((str(credential.person) + identity["salt"]).encode()).hexdigest()
    )


@pytest.mark.parametrize("part", [1, 2])
def test_a_tampered_badge_fails(credential: Credential, part: int) -> None:
    parts = credential.badge.split(".")
    if part == 1:
        body = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        body["credentialSubject"]["achievement"]["name"] = "岗位二级"
        parts[1] = base64.urlsafe_b64encode(json.dumps(body).encode()).rstrip(b"=").decode()
    else:
        parts[2] = parts[2][:-4] + ("AAAA" if parts[2][-4:] != "AAAA" else "BBBB")

    with pytest.raises((BadSignatureError, InvalidSignature)):
        opened(".".join(parts))


def test_every_word_of_a_badge_is_defined_by_the_contexts_it_names(credential: Credential) -> None:
    """A JSON-LD reader drops words it does not know: a badge that says more than its contexts says less than it seems."""
    files = {
        "https://www.w3.org/ns/credentials/v2": "credentials-v2.json",
        "https://purl.imsglobal.org/spec/ob/v3p0/context-3.0.3.json": "ob-v3p0-context-3.0.3.json",
        "https://purl.imsglobal.org/spec/ob/v3p0/extensions.json": "ob-v3p0-extensions.json",
    }
    body = opened(credential.badge)
    terms: set[str] = set()

    def learn(context: Any) -> None:
        for part in context if isinstance(context, list) else [context]:
            if isinstance(part, dict):
                for term, meaning in part.items():
                    terms.add(term)
                    if isinstance(meaning, dict):
                        learn(meaning.get("@context", {}))

    for address in body["@context"]:
        learn(json.loads((CONTEXTS / files[address]).read_text())["@context"])

    def words(value: Any) -> set[str]:
        if isinstance(value, list):
            return set().union(*(words(item) for item in value)) if value else set()
        if not isinstance(value, dict):
            return set()
        types = value.get("type", [])
        return {*value, *(types if isinstance(types, list) else [types])}.union(
            *(words(item) for item in value.values())
        )

    registered_claims = {"iss", "sub", "jti", "nbf", "exp", "@context"}
    assert words(body) - registered_claims - terms == set()


# --- status list ------------------------------------------------------------------------------------------------------


def bit(credential: Credential) -> int:
    """The bit of this certificate in the list as anyone fetches it, decoded by hand from the specification."""
    entry = opened(credential.badge)["credentialStatus"]
    path = entry["statusListCredential"].split("8000", 1)[-1]
    answer = Client().get(path)
    subject = opened(answer.content.decode())["credentialSubject"]
    data = gzip.decompress(base64.urlsafe_b64decode(subject["encodedList"][1:] + "=="))
    index = int(entry["statusListIndex"])
    assert (subject["type"], entry["statusPurpose"], subject["encodedList"][0]) == (
        "BitstringStatusList",
        "revocation",
        "u",
    )
    return data[index // 8] >> (7 - index % 8) & 1


def test_the_bit_flips_on_revocation_and_the_certificate_stays_to_be_seen(
    credential: Credential, assessor: User
) -> None:
    assert (
        status_list_url(credential.status_list) == opened(credential.badge)["credentialStatus"]["statusListCredential"]
    )
    assert bit(credential) == 0
    code = services.check_code_of(credential)

    services.revoke(credential=credential, by=assessor, reason="fraud", note="内部")

    assert bit(credential) == 1
    page = Client().post(reverse("certification:verify"), {"number": credential.number, "code": code}).content.decode()
    assert "已撤销" in page
    assert "以虚假材料或替代参加取得" in page
    assert "内部" not in page
    with pytest.raises(services.Refusal):
        services.revoke(credential=credential, by=assessor, reason="fraud")


def test_only_a_neutral_assessor_ends_a_certificate(
    credential: Credential, learner: User, member: Callable[..., User]
) -> None:
    for wrong in (
        learner,
        member("assessor"),
        member("admin", organisation=credential.organisation),
        member("officer"),
    ):
        with pytest.raises(services.Refusal):
            services.revoke(credential=credential, by=wrong, reason="error")
        with pytest.raises(services.Refusal):
            services.reissue(credential=credential, by=wrong, reason="name")
    credential.refresh_from_db()
    assert credential.state == "active"


def test_a_reissued_one_has_new_secrets_the_same_term_and_points_from_the_old(
    credential: Credential, assessor: User
) -> None:
    old_code = services.check_code_of(credential)

    new = services.reissue(credential=credential, by=assessor, reason="name", holder_name="蒋龑")

    credential.refresh_from_db()
    assert (credential.state, new.state, new.replaces) == ("reissued", "active", credential)
    assert (new.expires_on, new.decision, new.holder_name) == (credential.expires_on, credential.decision, "蒋龑")
    assert new.number != credential.number
    assert services.check_code_of(new) != old_code
    assert (bit(credential), bit(new)) == (1, 0)
    page = Client().post(reverse("certification:verify"), {"number": credential.number, "code": old_code})
    assert "已补发" in page.content.decode()


def test_terms_end_by_themselves_and_free_the_place_for_a_new_application(
    credential: Credential, learner: User
) -> None:
    assert services.expire_due(today=credential.expires_on) == 0
    assert services.expire_due(today=credential.expires_on + timedelta(days=1)) == 1
    assert services.expire_due(today=credential.expires_on + timedelta(days=1)) == 0

    services.apply_for(user=learner, level=credential.level)

    assert sorted(Credential.objects.values_list("state", flat=True)) == ["active", "expired"]
    assert list(credential.events.values_list("kind", flat=True)) == ["issued", "expired"]


# --- official ones ----------------------------------------------------------------------------------------------------


@pytest.fixture
def external(learner: User, assessor: User) -> Callable[..., Credential]:
    def register(**changes: Any) -> Credential:
        values: dict[str, Any] = {
            "user": learner,
            "organisation": learner.memberships.get().organisation,
            "title": "职业技能等级证书",
            "standard_code": "4-04-04-02",
            "level_code": "四级/中级工",
            "issuer": "某评价机构",
            "number": "S000033",
            "issued_on": date(2026, 3, 1),
            "expires_on": None,
            "by": assessor,
            "evidence": SimpleUploadedFile("a.pdf", b"%PDF-1.7"),
            "now": datetime(2026, 11, 23, tzinfo=UTC),
        }
        return services.register_external(**{**values, **changes})

    return register


def test_an_official_one_is_registered_once_and_is_neither_verified_nor_badged_by_us(
    external: Callable[..., Credential], learner: User
) -> None:
    row = external()

    assert (row.credential_type, row.known_from, row.badge, row.check_code_hash) == (
        "official_external",
        date(2026, 11, 23),
        "",
        "",
    )
    assert services.verify(number=row.number, code="0" * 13) is None
    with pytest.raises(services.Refusal, match="已经登记过"):
        external()
    with pytest.raises(services.Refusal, match="考评员"):
        external(by=learner, number="2")
    with pytest.raises(services.Refusal, match="不能晚于今天"):
        external(issued_on=date(2027, 1, 1), number="3")


def test_it_may_be_held_beside_ours(external: Callable[..., Credential], credential: Credential) -> None:
    external()

    assert Credential.objects.filter(person=credential.person, state="active").count() == 2


def test_organisations_keep_their_place_of_the_day_of_issue(credential: Credential) -> None:
    Organisation.objects.filter(pk=credential.organisation_id).update(size="large")

    credential.refresh_from_db()
    assert credential.size == "small"
