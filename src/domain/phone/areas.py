#!/usr/bin/env python3
"""Writes areas.csv: the states and provinces of North American area codes, from libphonenumber's data.

    pip install --target /tmp/pn phonenumbers==9.0.42
    PYTHONPATH=/tmp/pn python3 src/domain/phone/areas.py

Rows are state,area codes: ISO 3166-2, and the codes with blanks between. Only area codes of one state are listed: 867
(three territories) and 902 (two provinces) are not, and neither are those without a place (800, 500, ...).
"""

import pathlib
from collections import defaultdict

import phonenumbers as pn
from phonenumbers.geodata import GEOCODE_DATA

HEADER = """\
# North American area codes by state and province. Written by areas.py from phonenumbers {version}.
# NOTICE: derived, with changes, from libphonenumber, Copyright (C) The Libphonenumber Authors,
# licensed under the Apache License, Version 2.0 (http://www.apache.org/licenses/LICENSE-2.0).
"""

US = """AL Alabama|AK Alaska|AZ Arizona|AR Arkansas|CA California|CO Colorado|CT Connecticut|DE Delaware|FL Florida|
GA Georgia|HI Hawaii|ID Idaho|IL Illinois|IN Indiana|IA Iowa|KS Kansas|KY Kentucky|LA Louisiana|ME Maine|MD Maryland|
MA Massachusetts|MI Michigan|MN Minnesota|MS Mississippi|MO Missouri|MT Montana|NE Nebraska|NV Nevada|
NH New Hampshire|NJ New Jersey|NM New Mexico|NY New York|NC North Carolina|ND North Dakota|OH Ohio|OK Oklahoma|
OR Oregon|PA Pennsylvania|RI Rhode Island|SC South Carolina|SD South Dakota|TN Tennessee|TX Texas|UT Utah|VT Vermont|
VA Virginia|WA Washington State|DC Washington D.C.|WV West Virginia|WI Wisconsin|WY Wyoming"""
CA = """AB Alberta|BC British Columbia|BC British Colombia|MB Manitoba|NB New Brunswick|NL Newfoundland and Labrador|
ON Ontario|QC Quebec|SK Saskatchewan"""


def states():
    """Names and postal codes, as the data has them, to ISO 3166-2."""
    found = {}
    for country, listed in (("US", US), ("CA", CA)):
        for entry in listed.replace("\n", "").split("|"):
            code, name = entry.split(" ", 1)
            found[name] = found[code] = f"{country}-{code}"
    return found


def main():
    known = states()
    by_area = defaultdict(set)
    whole = {}
    for prefix, names in GEOCODE_DATA.items():
        if not prefix.startswith("1") or len(prefix) < 4 or "en" not in names:
            continue
        place = names["en"].rsplit(", ", 1)[-1]
        place = known.get(place, place)
        if len(prefix) == 4:
            whole[prefix[1:4]] = {place}
        elif place in known.values():
            by_area[prefix[1:4]].add(place)
    # What is said of the whole area code counts more than what is said of single exchanges.
    by_area |= whole
    rows = defaultdict(list)
    for area, places in sorted(by_area.items()):
        if len(places) == 1 and (place := places.pop()) in known.values():
            rows[place].append(area)
        else:
            print("left out:", area, places)
    out = pathlib.Path(__file__).with_name("areas.csv")
    with out.open("w", encoding="utf-8", newline="\n") as file:
        file.write(HEADER.format(version=pn.__version__))
        for state in sorted(rows):
            file.write(f"{state},{' '.join(rows[state])}\n")
    print(f"{len(rows)} states, {sum(map(len, rows.values()))} area codes")


if __name__ == "__main__":
    main()
