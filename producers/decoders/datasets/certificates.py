"""Certificates from their raw bytes, by the cryptography library: names are never put together by position."""

import hashlib
import warnings
from datetime import datetime
from functools import lru_cache
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.x509.oid import NameOID

MAX_ALTERNATIVE_NAMES = 200
# What the library raises over bytes that are no proper certificate; not all of it is a ValueError.
_MALFORMED = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
# ECS's names of the parts of a name.
_ATTRIBUTES = {
    "common_name": NameOID.COMMON_NAME,
    "country": NameOID.COUNTRY_NAME,
    "locality": NameOID.LOCALITY_NAME,
    "organization": NameOID.ORGANIZATION_NAME,
    "organizational_unit": NameOID.ORGANIZATIONAL_UNIT_NAME,
    "state_or_province": NameOID.STATE_OR_PROVINCE_NAME,
}


@lru_cache(maxsize=1024)
def certificate_fields(der: bytes, side: str) -> dict[str, Any]:
    """ECS fields of a DER certificate under `tls.<side>`; what does not parse leaves its fields out.

    Hashes are there for any bytes; dates are ISO 8601 in UTC, distinguished names by RFC 4514.
    """
    base = f"tls.{side}"
    fields: dict[str, Any] = {
        f"{base}.hash.md5": hashlib.md5(der, usedforsecurity=False).hexdigest().upper(),
        f"{base}.hash.sha1": hashlib.sha1(der, usedforsecurity=False).hexdigest().upper(),
        f"{base}.hash.sha256": hashlib.sha256(der).hexdigest().upper(),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library warns of what the standards do not allow
        try:
            certificate = x509.load_der_x509_certificate(der)
        except _MALFORMED:
            return fields
        for part in (_version, _serial, _names, _validity, _key, _alternative_names):
            try:
                fields |= part(certificate, base)
            except _MALFORMED:
                continue  # a hostile certificate: its hashes and what did parse are told
    return fields


def _version(certificate: x509.Certificate, base: str) -> dict[str, Any]:
    return {f"{base}.x509.version_number": str(certificate.version.value + 1)}  # v3 is 2 on the wire


def _serial(certificate: x509.Certificate, base: str) -> dict[str, Any]:
    serial = certificate.serial_number
    return {f"{base}.x509.serial_number": f"{serial:X}" if serial >= 0 else f"-{-serial:X}"}


def _names(certificate: x509.Certificate, base: str) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for role, name in (("subject", certificate.subject), ("issuer", certificate.issuer)):
        text = name.rfc4514_string()
        fields[f"{base}.{role}"] = text
        fields[f"{base}.x509.{role}.distinguished_name"] = text
        for attribute, oid in _ATTRIBUTES.items():
            values = [str(item.value) for item in name.get_attributes_for_oid(oid)]
            if values:
                fields[f"{base}.x509.{role}.{attribute}"] = values
    return fields


def _validity(certificate: x509.Certificate, base: str) -> dict[str, Any]:
    fields = {}
    for name, when in (
        ("not_before", certificate.not_valid_before_utc),
        ("not_after", certificate.not_valid_after_utc),
    ):
        fields[f"{base}.{name}"] = fields[f"{base}.x509.{name}"] = _iso(when)
    return fields


def _iso(when: datetime) -> str:
    return when.isoformat()[:19] + "Z"


def _key(certificate: x509.Certificate, base: str) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    oid = certificate.signature_algorithm_oid
    fields[f"{base}.x509.signature_algorithm"] = getattr(oid, "_name", oid.dotted_string)
    key = certificate.public_key()
    names = {
        rsa.RSAPublicKey: "RSA",
        ec.EllipticCurvePublicKey: "EC",
        dsa.DSAPublicKey: "DSA",
        ed25519.Ed25519PublicKey: "Ed25519",
        ed448.Ed448PublicKey: "Ed448",
    }
    for kind, name in names.items():
        if isinstance(key, kind):
            fields[f"{base}.x509.public_key_algorithm"] = name
    if isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey | dsa.DSAPublicKey):
        fields[f"{base}.x509.public_key_size"] = key.key_size
    if isinstance(key, rsa.RSAPublicKey):
        exponent = key.public_numbers().e
        if exponent < 1 << 63:
            fields[f"{base}.x509.public_key_exponent"] = exponent
    if isinstance(key, ec.EllipticCurvePublicKey):
        fields[f"{base}.x509.public_key_curve"] = key.curve.name
    return fields


def _alternative_names(certificate: x509.Certificate, base: str) -> dict[str, Any]:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return {}
    names = [
        str(item.value)
        for item in extension.value
        if isinstance(item, x509.DNSName | x509.IPAddress | x509.RFC822Name | x509.UniformResourceIdentifier)
    ]
    return {f"{base}.x509.alternative_names": names[:MAX_ALTERNATIVE_NAMES]} if names else {}
