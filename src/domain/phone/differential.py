#!/usr/bin/env python3
"""Writes differential.csv: inputs and what the Python port of libphonenumber makes of them.

    pip install --target /tmp/pn phonenumbers==9.0.42
    PYTHONPATH=/tmp/pn python3 src/domain/phone/differential.py

The version must be that of the metadata inside the crate rlibphonenumber (its readme says
which); raise both together. The output depends only on SEED and on that version.

Rows are input,region,answer. The answer is the E.164 form, or empty where the text cannot be
parsed, is not a valid number, or has an extension. Ours differs from the port's on purpose in
two places, applied here so that the test can demand full agreement:
- E.164 allows at most 15 digits; some plans contain longer numbers (and Austria, shorter ones
  than 7): answer empty;
- the simulator's numbers (+1555010xxxx) are ours alone: not generated.
"""

import pathlib
import random

import phonenumbers as pn
from phonenumbers import PhoneNumberFormat as Format
from phonenumbers import PhoneNumberType as Type

SEED = 20261121
PER_MAIN_REGION = 40
PER_OTHER_REGION = 6

# Where lists come from, and where the plans are hard: variable lengths (DE, AT, ID), leading zeros
# (IT, SM, VA), mobile tokens (MX, AR), shared calling codes (US, CA, JM, GB, GG, RU, KZ, FI, AX).
MAIN = (
    "US CA JM DO PR GB GG IM DE AT CH IT SM VA FR RE ES PT NL BE SE NO FI AX DK IE PL CZ HU RO BG "
    "GR TR IL RU KZ UA IN PK BD LK CN HK TW JP KR SG MY TH VN ID PH AU NZ ZA NG KE EG MA AE SA "
    "MX AR BR CL CO PE UY VE CR"
).split()
TYPES = (
    [Type.MOBILE] * 5
    + [Type.FIXED_LINE] * 5
    + [Type.TOLL_FREE, Type.PREMIUM_RATE, Type.SHARED_COST, Type.VOIP, Type.UAN, Type.PERSONAL_NUMBER]
)
EXACT = [
    ("+4915123658789", "US"),
    ("+49 151 2365 8789", ""),
    ("01512365878", "DE"),
    ("+43 1 234567890", ""),
    ("0043 664 1234567", "AT"),
    ("+43 5 0100", ""),
    ("+39 06 698 12345", ""),
    ("+39 6 698 12345", ""),
    ("06 698 12345", "IT"),
    ("+52 1 55 1234 5678", ""),
    ("+52 55 1234 5678", ""),
    ("044 55 1234 5678", "MX"),
    ("+54 9 11 2345 6789", ""),
    ("+54 11 15 2345 6789", ""),
    ("011 15 2345-6789", "AR"),
    ("0 343 15 555 1212", "AR"),
    ("8 (912) 345-67-89", "RU"),
    ("8~10 44 20 7946 0119", "RU"),
    ("+225 01 23 45 67 89", ""),
    ("+800 1234 5678", ""),
    ("+883 5100 12345678", ""),
    ("+979 1 2345 6789", ""),
    ("tel:+1-201-555-0123", ""),
    ("tel:201-555-0123;phone-context=+1", ""),
    ("1-800-FLOWERS", "US"),
    ("+1 (201) 555-0123 / 0124", ""),
    ("0119 44 20 7946 0119", "US"),
    ("00 800 1234 5678", "DE"),
    ("911", "US"),
    ("112", "DE"),
    ("+1", "US"),
    ("++442079460119", ""),
    ("+44+2079460119", ""),
    ("phone: +44 20 7946 0119", ""),
    ("+44 20 7946 0119 (office)", ""),
]


def answer(text, region):
    try:
        number = pn.parse(text, region or None)
    except pn.NumberParseException:
        return ""
    if number.extension or not pn.is_valid_number(number):
        return ""
    e164 = pn.format_number(number, Format.E164)
    return e164 if 7 <= len(e164) - 1 <= 15 else ""


def sample(rng, region):
    """A number of the region's: an example with a random tail, mostly of a valid length."""
    example = pn.example_number_for_type(region, rng.choice(TYPES)) or pn.example_number(region)
    digits = list(pn.national_significant_number(example))
    tail = rng.randint(0, min(6, len(digits) - 1))
    for i in range(len(digits) - tail, len(digits)):
        digits[i] = rng.choice("0123456789")
    if rng.random() < 0.15:
        digits = digits[:-1] if rng.random() < 0.5 else digits + [rng.choice("0123456789")]
    text = "".join(digits)
    zeros = len(text) - len(text.lstrip("0"))
    return pn.PhoneNumber(
        country_code=example.country_code,
        national_number=int(text),
        italian_leading_zero=zeros > 0 or None,
        number_of_leading_zeros=zeros if zeros > 1 else None,
    )


def written(rng, number, region):
    """The number as somebody might write it, and the region a list would give with it."""
    nsn = pn.national_significant_number(number)
    code = str(number.country_code)
    national = pn.format_number(number, Format.NATIONAL)
    international = pn.format_number(number, Format.INTERNATIONAL)
    e164 = pn.format_number(number, Format.E164)
    other = rng.choice(["", "US", "GB", "DE", rng.choice(MAIN)])
    return rng.choice(
        [
            (e164, ""),
            (e164, region),
            (e164, other),
            (international, other),
            (international.replace(" ", "-"), ""),
            (pn.format_number(number, Format.RFC3966), ""),
            (national, region),
            (national, region),
            (national.replace(" ", "").replace("-", ""), region),
            (national.replace(" ", "."), region),
            (national, other),
            (nsn, region),
            (code + nsn, region),
            (code + nsn, other),
            ("00" + code + nsn, region),
            ("011 " + code + " " + nsn, "US"),
            (pn.format_out_of_country_calling_number(number, region), region),
            ("+" + code + " (0) " + nsn, ""),
            ("".join(chr(ord(c) + 0xFEE0) if c in "+0123456789" else c for c in e164), ""),
            ("".join(chr(ord(c) - 48 + 0x660) if c.isdigit() else c for c in national), region),
            (" " + international + "\u00a0", ""),
            (e164 + rng.choice([" x12", " ext. 345", ";ext=7", " #9"]), ""),
        ]
    )


def mutated(rng, text):
    at = rng.randrange(len(text)) if text else 0
    digit = rng.choice("0123456789")
    return rng.choice(
        [
            text[:at] + text[at + 1 :],
            text[:at] + digit + text[at:],
            text[:at] + digit + text[at + 1 :],
            text[: at + 1] + text[at : at + 1] + text[at + 1 :],
            text[:at] + rng.choice(" -./()+*") + text[at:],
            text[:at],
            text[:at] + text[at + 1 : at + 2] + text[at : at + 1] + text[at + 2 :],
        ]
    )


def main():
    rng = random.Random(SEED)
    rows = list(EXACT)
    for region in sorted(pn.SUPPORTED_REGIONS):
        for _ in range(PER_MAIN_REGION if region in MAIN else PER_OTHER_REGION):
            text, default = written(rng, sample(rng, region), region)
            if rng.random() < 0.2:
                text = mutated(rng, text)
            rows.append((text, default))
    out = pathlib.Path(__file__).with_name("differential.csv")
    seen = set()
    with out.open("w", encoding="utf-8", newline="\n") as file:
        file.write(f"# Written by differential.py from phonenumbers {pn.__version__}, seed {SEED}.\n")
        for row in rows:
            text, region = row
            usable = text.strip() and not set(text) & set(",\"'\n\r") and not text.startswith("#")
            ours = "555010" in "".join(c for c in text if c.isdigit())
            if row in seen or ours or not usable:
                continue
            seen.add(row)
            file.write(f"{text},{region},{answer(text, region)}\n")
    print(f"{len(seen)} rows, {out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
