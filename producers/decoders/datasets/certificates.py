"""Certificates from their raw bytes, by the cryptography library: names are never put together by position."""

import hashlib
import warnings
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.x509.oid import NameOID

from producers.decoders.datasets.der import elements

MAX_ALTERNATIVE_NAMES = 200
MAX_CHAIN = 16
MAX_CONSTRAINTS = 50
EXPLICIT = "explicit"
"""What is given as the curve of a key whose certificate spells the curve's parameters out instead of naming it."""

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


# What an element of a chain has, by its name, and where the fields of a certificate have it.
_OF_A_CHAIN = {
    "subject": "subject",
    "issuer": "issuer",
    "serial_number": "x509.serial_number",
    "not_before": "not_before",
    "not_after": "not_after",
    "alternative_names": "x509.alternative_names",
    "public_key_algorithm": "x509.public_key_algorithm",
    "public_key_size": "x509.public_key_size",
    "public_key_curve": "x509.public_key_curve",
}
_EC_PUBLIC_KEY = bytes.fromhex("2a8648ce3d0201")  # 1.2.840.10045.2.1
# Other names that are a text: SmtpUTF8Mailbox (RFC 9598), Microsoft's user principal name.
_TEXTS = {"1.3.6.1.5.5.7.8.9": "smtputf8", "1.3.6.1.4.1.311.20.2.3": "upn"}
_UTF8_STRING, _SEQUENCE, _VERSION = 0x0C, 0x30, 0xA0


class Hashes(NamedTuple):
    """Upper-case hexadecimal digests of a certificate."""

    md5: str
    sha1: str
    sha256: str


@lru_cache(maxsize=1024)
def hashes(der: bytes) -> Hashes:
    """The digests of a certificate's bytes, whatever they are."""
    return Hashes(
        hashlib.md5(der, usedforsecurity=False).hexdigest().upper(),
        hashlib.sha1(der, usedforsecurity=False).hexdigest().upper(),
        hashlib.sha256(der).hexdigest().upper(),
    )


def chain_fields(chain: tuple[bytes, ...], side: str) -> dict[str, Any]:
    """ECS fields of a chain under `tls.<side>` and `netflight.tls.<side>`: the first certificate's, and each one's."""
    fields = dict(certificate_fields(chain[0], side))
    entries = [dict(chain_entry(der)) for der in chain[:MAX_CHAIN]]
    own = f"netflight.tls.{side}"
    fields[f"{own}.certificates"] = len(chain)
    fields[f"{own}.chain"] = entries
    if any(entry.get("public_key_curve") == EXPLICIT for entry in entries):
        fields[f"{own}.explicit_curve"] = True
    constraints = dict.fromkeys(said for entry in entries for said in entry.get("name_constraints", ()))
    if constraints:
        fields[f"{own}.name_constraints"] = list(constraints)
    return fields


@lru_cache(maxsize=1024)
def chain_entry(der: bytes) -> dict[str, Any]:
    """What an element of a chain says of a DER certificate."""
    fields = certificate_fields(der, "server")
    found = {
        name: fields[f"tls.server.{of}"] for name, of in _OF_A_CHAIN.items() if f"tls.server.{of}" in fields
    }
    entry: dict[str, Any] = {**found, "hash": hashes(der)._asdict()}
    constraints = _name_constraints(der)
    if constraints:
        entry["name_constraints"] = constraints
    return entry


@lru_cache(maxsize=1024)
def certificate_fields(der: bytes, side: str) -> dict[str, Any]:
    """ECS fields of a DER certificate under `tls.<side>`; what does not parse leaves its fields out.

    Hashes are there for any bytes; dates are ISO 8601 in UTC, distinguished names by RFC 4514.
    """
    base = f"tls.{side}"
    fields: dict[str, Any] = {f"{base}.hash.{kind}": digest for kind, digest in hashes(der)._asdict().items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library warns of what the standards do not allow
        try:
            certificate = x509.load_der_x509_certificate(der)
        except _MALFORMED:
            return fields
        for part in (_version, _serial, _names, _validity, _signature, _key, _alternative_names):
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


def _signature(certificate: x509.Certificate, base: str) -> dict[str, Any]:
    oid = certificate.signature_algorithm_oid
    return {f"{base}.x509.signature_algorithm": getattr(oid, "_name", oid.dotted_string)}


def _key(certificate: x509.Certificate, base: str) -> dict[str, Any]:
    bits = _explicit_curve(certificate.tbs_certificate_bytes)
    if bits is not None:  # the library knows named curves only (RFC 5480, section 2.1.1)
        return {
            f"{base}.x509.public_key_algorithm": "EC",
            f"{base}.x509.public_key_curve": EXPLICIT,
            f"{base}.x509.public_key_size": bits,
        }
    fields: dict[str, Any] = {}
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


def _explicit_curve(tbs: bytes) -> int | None:
    """The size in bits of a key's field where its curve is spelled out (X9.62's ECParameters); None otherwise."""
    outer = elements(tbs)
    parts = elements(outer[0].content) if outer else []
    if parts and parts[0].tag == _VERSION:
        parts = parts[1:]
    key = elements(parts[5].content) if len(parts) > 5 else []
    algorithm = elements(key[0].content) if key else []
    if len(algorithm) < 2 or algorithm[0].content != _EC_PUBLIC_KEY or algorithm[1].tag != _SEQUENCE:
        return None
    curve = elements(algorithm[1].content)
    base_field = elements(curve[1].content) if len(curve) > 1 else []
    return int.from_bytes(base_field[1].content, "big").bit_length() if len(base_field) > 1 else 0


def _alternative_names(certificate: x509.Certificate, base: str) -> dict[str, Any]:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return {}
    names = [name for name in map(_general_name, extension.value) if name]
    return {f"{base}.x509.alternative_names": names[:MAX_ALTERNATIVE_NAMES]} if names else {}


def _general_name(item: x509.GeneralName) -> str:
    """A name as text; empty where it is none, or of a kind that nobody reads."""
    if isinstance(item, x509.OtherName):
        found = elements(item.value)
        known = item.type_id.dotted_string in _TEXTS and found and found[0].tag == _UTF8_STRING
        return found[0].content.decode("utf-8", "replace") if known else ""
    if isinstance(item, x509.DNSName | x509.IPAddress | x509.RFC822Name | x509.UniformResourceIdentifier):
        return str(item.value)
    return ""


def _name_constraints(der: bytes) -> list[str]:
    """The names that an authority's certificate permits and excludes (RFC 5280, 4.2.1.10), as OpenSSL prints them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            extensions = x509.load_der_x509_certificate(der).extensions
            found = extensions.get_extension_for_class(x509.NameConstraints).value
        except (*_MALFORMED, x509.ExtensionNotFound):
            return []
    subtrees = (("permitted", found.permitted_subtrees), ("excluded", found.excluded_subtrees))
    said = [f"{kind};{_constraint(name)}" for kind, names in subtrees for name in names or ()]
    return said[:MAX_CONSTRAINTS]


def _constraint(name: x509.GeneralName) -> str:
    kinds = {
        x509.RFC822Name: "email",
        x509.DNSName: "DNS",
        x509.UniformResourceIdentifier: "URI",
        x509.IPAddress: "IP",
    }
    if isinstance(name, x509.DirectoryName):
        return f"dirName:{name.value.rfc4514_string()}"
    if isinstance(name, x509.OtherName):
        return f"{_TEXTS.get(name.type_id.dotted_string, name.type_id.dotted_string)}:{_general_name(name)}"
    return f"{kinds.get(type(name), type(name).__name__)}:{name.value}"
