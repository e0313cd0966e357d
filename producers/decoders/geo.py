"""Where an address is and whose it is, from MaxMind databases that the operator gives (City, Country, ASN ...)."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import maxminddb

from runtime.errors import ConfigError


class Geo:
    """Looks addresses up in databases of the MaxMind DB format; none of them: nothing is known of any address."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._readers = [_opened(path) for path in paths]
        self.fields = lru_cache(maxsize=1 << 14)(self._fields)
        """`geo.*` and `as.*` of an address by their ECS names; do not change what comes back."""

    def __bool__(self) -> bool:
        return bool(self._readers)

    def _fields(self, address: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for reader in self._readers:
            try:
                record = reader.get(address.partition("%")[0])
            except (ValueError, maxminddb.InvalidDatabaseError):
                continue  # an IPv6 address in a database of IPv4, or a damaged record: nothing is known of it
            if isinstance(record, dict):
                found |= _told(record)
        return found


def _opened(path: Path) -> maxminddb.Reader:
    try:
        return maxminddb.open_database(path, maxminddb.MODE_AUTO)
    except (OSError, maxminddb.InvalidDatabaseError) as error:
        raise ConfigError(
            f"{path}: no MaxMind database ({error})", "decode.maxmind names files such as GeoLite2-City.mmdb"
        ) from error


def _told(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record's ECS fields: GeoIP2 and GeoLite2 City, Country and ASN have these names."""
    subdivisions = record.get("subdivisions") or [{}]
    region = subdivisions[0] if isinstance(subdivisions, list) else {}
    told = {
        "geo.continent_code": _in(record, "continent", "code"),
        "geo.continent_name": _in(record, "continent", "names", "en"),
        "geo.country_iso_code": _in(record, "country", "iso_code"),
        "geo.country_name": _in(record, "country", "names", "en"),
        "geo.region_iso_code": _region(_in(record, "country", "iso_code"), _in(region, "iso_code")),
        "geo.region_name": _in(region, "names", "en"),
        "geo.city_name": _in(record, "city", "names", "en"),
        "geo.timezone": _in(record, "location", "time_zone"),
        "as.number": record.get("autonomous_system_number"),
        "as.organization.name": record.get("autonomous_system_organization"),
    }
    latitude, longitude = _in(record, "location", "latitude"), _in(record, "location", "longitude")
    if isinstance(latitude, float) and isinstance(longitude, float):
        told["geo.location"] = {"lat": latitude, "lon": longitude}
    return {name: value for name, value in told.items() if value not in (None, "")}


def _region(country: Any, region: Any) -> str | None:
    """ISO 3166-2, as `SE-E`."""
    return f"{country}-{region}" if country and region else None


def _in(record: Any, *names: str) -> Any:
    for name in names:
        if not isinstance(record, dict):
            return None
        record = record.get(name)
    return record
