"""The signature inside a certificate's PDF: PAdES baseline B-B (ETSI EN 319 142-1). The only module that speaks pyHanko.

The signer's X.509 certificate is made by this installation for itself: a reader's program cannot know it, so whoever checks
compares its SHA-256 fingerprint with the one on our verification page. ECDSA on P-256 with SHA-256, because readers know it
(Ed25519, which signs our badges, is unknown to most). The signature certifies the document and permits no change.
"""

from __future__ import annotations

import hashlib
import io
from datetime import datetime

from asn1crypto import keys as asn1_keys
from asn1crypto import pem as asn1_pem
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import NameOID
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.sign import PdfSignatureMetadata, SimpleSigner, sign_pdf
from pyhanko.sign.fields import MDPPerm, SigSeedSubFilter
from pyhanko_certvalidator.registry import SimpleCertificateStore

FIELD = "LianbingIssuer"
YEARS = 20  # no timestamping authority stands behind it, so the certificate must outlive the papers it signed


def self_signed(private_pem: bytes, *, name: str, kid: str, now: datetime) -> str:
    """A certificate (PEM) for a key of ours, for signing documents and nothing else (RFC 5280, 4.2.1.3)."""
    key = load_pem_private_key(private_pem, password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    who = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, name.encode()[:64].decode(errors="ignore")),  # 64: RFC 5280
            x509.NameAttribute(NameOID.COMMON_NAME, f"练兵证书签章 {kid[:8]}"),
        ]
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(who)
        .issuer_name(who)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now.replace(hour=0, minute=0, second=0, microsecond=0))
        .not_valid_after(now.replace(year=now.year + YEARS, day=min(now.day, 28)))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(
            x509.KeyUsage(
                digital_signature=True, content_commitment=True, key_encipherment=False, data_encipherment=False,
                key_agreement=False, key_cert_sign=False, crl_sign=False, encipher_only=False, decipher_only=False,
            ),
            critical=True,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    return certificate.public_bytes(Encoding.PEM).decode()


def fingerprint(certificate_pem: str) -> str:
    """SHA-256 in fours, to be compared by eye: "3A91 07FE …"."""
    _kind, _headers, der = asn1_pem.unarmor(certificate_pem.encode())
    digest = hashlib.sha256(der).hexdigest().upper()
    return " ".join(digest[at : at + 4] for at in range(0, len(digest), 4))


def signed_pdf(pdf: bytes, *, private_pem: bytes, certificate_pem: str, reason: str) -> bytes:
    """The document with one invisible certifying signature over all of it."""
    _kind, _headers, key_der = asn1_pem.unarmor(private_pem)
    _kind, _headers, certificate_der = asn1_pem.unarmor(certificate_pem.encode())
    certificate = asn1_x509.Certificate.load(certificate_der)
    signer = SimpleSigner(
        signing_cert=certificate,
        signing_key=asn1_keys.PrivateKeyInfo.load(key_der),
        cert_registry=SimpleCertificateStore.from_certs([certificate]),
    )
    out = io.BytesIO()
    sign_pdf(
        IncrementalPdfFileWriter(io.BytesIO(pdf)),
        PdfSignatureMetadata(
            field_name=FIELD,
            md_algorithm="sha256",
            subfilter=SigSeedSubFilter.PADES,
            certify=True,
            docmdp_permissions=MDPPerm.NO_CHANGES,
            reason=reason,
            name=str(certificate.subject.native["common_name"]),
        ),
        signer=signer,
        output=out,
    )
    return out.getvalue()
