"""The signature in the PDF, checked by pyHanko's own validator with nothing trusted but the published certificate."""

from __future__ import annotations

import io

import pytest
from asn1crypto import pem, x509
from django.core.management import call_command
from django.test import Client
from django.urls import reverse
from pyhanko.pdf_utils.generic import TextStringObject
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.sign.validation import validate_pdf_signature
from pyhanko.sign.validation.status import PdfSignatureStatus
from pyhanko_certvalidator import ValidationContext

from certification import services
from certification.models import Credential, SigningKey
from certification.signing import FIELD, fingerprint
from lms.accounts.models import User


def published() -> list[x509.Certificate]:
    """What anyone gets from the verification page."""
    text = Client().get(reverse("certification:document_certificates")).content
    return [x509.Certificate.load(der) for _kind, _headers, der in pem.unarmor(text, multiple=True)]


def checked(pdf: bytes, *, trusting: list[x509.Certificate] | None = None) -> PdfSignatureStatus:
    (signature,) = PdfFileReader(io.BytesIO(pdf)).embedded_signatures
    context = ValidationContext(trust_roots=published() if trusting is None else trusting, allow_fetching=False)
    return validate_pdf_signature(signature, context)


@pytest.fixture
def pdf(credential: Credential) -> bytes:
    return bytes(services.render_document(credential=credential).document.read())


def test_the_document_is_signed_as_pades_b_b_over_all_of_it(pdf: bytes) -> None:
    (signature,) = PdfFileReader(io.BytesIO(pdf)).embedded_signatures
    attributes = {attribute["type"].native for attribute in signature.signer_info["signed_attrs"]}

    status = checked(pdf)

    assert status.bottom_line
    assert status.trusted
    assert status.coverage.name == "ENTIRE_FILE"
    assert (signature.field_name, signature.sig_object["/SubFilter"]) == (FIELD, "/ETSI.CAdES.detached")
    assert {"content_type", "message_digest", "signing_certificate_v2"} <= attributes
    assert "signing_time" not in attributes  # ETSI EN 319 142-1, 6.3: the time stands in the dictionary (/M)
    assert signature.docmdp_level.name == "NO_CHANGES"


def test_a_changed_byte_fails(pdf: bytes) -> None:
    (signature,) = PdfFileReader(io.BytesIO(pdf)).embedded_signatures
    first, length = (int(n) for n in list(signature.sig_object["/ByteRange"])[:2])
    changed = bytearray(pdf)
    at = pdf.index(b"stream", first, first + length) + 40
    changed[at] ^= 1

    status = checked(bytes(changed))

    assert not status.intact
    assert not status.bottom_line


def test_something_added_behind_the_signature_fails(pdf: bytes) -> None:
    writer = IncrementalPdfFileWriter(io.BytesIO(pdf))
    writer.root["/Lang"] = TextStringObject("en")
    writer.update_root()
    out = io.BytesIO()
    writer.write(out)

    status = checked(out.getvalue())

    assert status.coverage.name != "ENTIRE_FILE"
    assert not status.docmdp_ok
    assert not status.bottom_line


def test_another_installations_certificate_is_not_trusted(pdf: bytes) -> None:
    services.rotate_key(purpose=SigningKey.Purpose.DOCUMENT, by=None)
    other = published()[:1]  # the new key's, which did not sign this

    status = checked(pdf, trusting=other)

    assert status.intact
    assert not status.trusted


def test_after_a_rotation_old_documents_stay_checkable_and_new_ones_have_the_new_key(
    pdf: bytes, credential: Credential, assessor: User
) -> None:
    before = SigningKey.objects.get(purpose="document", retired_at=None)
    out = io.StringIO()

    call_command("rotate_signing_key", "document", stdout=out)
    new = services.reissue(credential=credential, by=assessor, reason="lost")
    fresh = bytes(services.render_document(credential=new).document.read())

    now = SigningKey.objects.get(purpose="document", retired_at=None)
    assert now.kid != before.kid
    assert fingerprint(now.certificate) in out.getvalue()
    assert checked(pdf).bottom_line
    assert checked(fresh).bottom_line
    assert len(published()) == 2
    assert before.kid not in str(services.public_keys())  # those are badges' and releases'


def test_the_private_half_is_sealed(pdf: bytes) -> None:
    key = SigningKey.objects.get(purpose="document")

    assert b"PRIVATE KEY" not in bytes(key.private_sealed)
    assert "PRIVATE" not in key.certificate


def test_the_verification_page_tells_fingerprints_and_how_to_compare_them(pdf: bytes) -> None:
    key = SigningKey.objects.get(purpose="document")

    page = Client().get(reverse("certification:verify")).content.decode()

    assert fingerprint(key.certificate) in page
    assert "SHA-256 指纹" in page
    assert reverse("certification:document_certificates") in page


def test_before_the_first_document_the_page_says_so(db: None) -> None:
    page = Client().get(reverse("certification:verify")).content.decode()

    assert "还没有签发过 PDF 证书" in page
    assert not SigningKey.objects.filter(purpose="document").exists()
    assert published_nothing()


def published_nothing() -> bool:
    return Client().get(reverse("certification:document_certificates")).content == b""
