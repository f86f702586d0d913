#!/usr/bin/env python3
"""Writes zones.csv: the time zones of phone number prefixes, from libphonenumber's data.

    pip install --target /tmp/pn phonenumbers==9.0.42
    PYTHONPATH=/tmp/pn python3 src/domain/phone/zones.py

Rows are prefix,zone&zone in order of prefix; the longest prefix of a number decides. What is
changed from the original, each to keep a number from being taken for one place when it may be in
another:
- a North American area code whose exchanges lie in several zones counts as all of them where the
  exchange is unlisted: most lines of 270 are Central, yet the original gives unlisted ones Eastern;
- overlays share the map of the area code they overlay, which the original has not caught up with;
- area codes without a place (800, 500, ...) get the zones of their country instead of those of the
  whole of North America from Guam to St. John's, which are never in business hours together;
- zones go by their present names;
- rows that say what their parent says are dropped.
"""

import pathlib
from collections import defaultdict

import phonenumbers as pn
from phonenumbers.tzdata import TIMEZONE_DATA

HEADER = """\
# Prefixes of phone numbers and their time zones. Written by zones.py from phonenumbers {version}.
# NOTICE: derived, with changes, from libphonenumber, Copyright (C) The Libphonenumber Authors,
# licensed under the Apache License, Version 2.0 (http://www.apache.org/licenses/LICENSE-2.0).
"""

# Overlay: the area code whose ground it shares.
OVERLAYS = {
    "236": "250",  # British Columbia: its east keeps Mountain time
    "257": "250",
    "672": "250",
    "778": "250",
    "364": "270",  # western Kentucky
    "367": "418",  # eastern Quebec
    "581": "418",
    "448": "850",  # Florida panhandle
    "458": "541",  # Oregon
    "729": "423",  # eastern Tennessee
    "930": "812",  # southern Indiana
    "986": "208",  # Idaho
}

RENAMED = {
    "Africa/Asmera": "Africa/Asmara",
    "America/Buenos_Aires": "America/Argentina/Buenos_Aires",
    "America/Godthab": "America/Nuuk",
    "Asia/Calcutta": "Asia/Kolkata",
    "Asia/Choibalsan": "Asia/Ulaanbaatar",
    "Asia/Katmandu": "Asia/Kathmandu",
    "Asia/Rangoon": "Asia/Yangon",
    "Atlantic/Faeroe": "Atlantic/Faroe",
    "Pacific/Enderbury": "Pacific/Kanton",
    "Pacific/Ponape": "Pacific/Pohnpei",
    "Pacific/Truk": "Pacific/Chuuk",
}


def country_of(area_code):
    """The country of a North American area code, None if it is not in service."""
    for exchange in range(200, 1000):
        number = pn.PhoneNumber(country_code=1, national_number=int(f"{area_code}{exchange}1234"))
        if pn.is_valid_number(number):
            return pn.region_code_for_number(number)
    return None


def main():
    zones = {
        prefix: {RENAMED.get(zone, zone) for zone in names}
        for prefix, names in TIMEZONE_DATA.items()
    }
    by_area = defaultdict(set)
    for prefix, names in zones.items():
        if prefix.startswith("1") and len(prefix) >= 4:
            by_area[prefix[1:4]] |= names
    for overlay, ground in OVERLAYS.items():
        by_area[overlay] |= by_area[ground]
    countries = {str(code): country_of(code) for code in range(200, 1000)}
    by_country = defaultdict(set)
    for area, names in by_area.items():
        by_country[countries[area]] |= names
    for area, country in countries.items():
        if country is not None:
            zones["1" + area] = by_area.get(area) or by_country[country]

    kept = {}
    for prefix in sorted(zones, key=lambda p: (len(p), p)):
        parent = next((prefix[:n] for n in range(len(prefix) - 1, 0, -1) if prefix[:n] in kept), None)
        if parent is None or kept[parent] != zones[prefix]:
            kept[prefix] = zones[prefix]
    out = pathlib.Path(__file__).with_name("zones.csv")
    with out.open("w", encoding="utf-8", newline="\n") as file:
        file.write(HEADER.format(version=pn.__version__))
        for prefix in sorted(kept):
            file.write(f"{prefix},{'&'.join(sorted(kept[prefix]))}\n")
    print(f"{len(kept)} rows, {out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
