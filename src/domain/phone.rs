//! Phone numbers: what people type is turned once into [`E164`], or refused with a sentence a
//! campaign manager can act on. Everything after that holds a number known to be dialable.
//!
//! Numbering rules come from libphonenumber through one crate, named only in this file;
//! `phone/differential.csv` pins our answers to those of Google's data as another port gives them.
//! Printing an [`E164`] masks it; [`E164::as_str`] is the only way to the digits.
//!
//! Time zones of a number are in [`zones`], country and area in [`area`]. Line type, carrier and portability are not here: a
//! number does not tell them.

use std::borrow::Cow;
use std::fmt;

use rlibphonenumber::{
    NumberLengthType, PHONE_NUMBER_UTIL, ParseError, PhoneNumber, PhoneNumberFormat,
    Region as LibRegion, ValidationError,
};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};
use thiserror::Error;

pub mod area;
#[cfg(test)]
mod tests;
pub mod zones;

/// Longest text taken as a phone number, in bytes. A real one with every decoration is far shorter.
pub const MAX_INPUT_LEN: usize = 64;

/// The simulator's magic numbers: these digits and four more. No carrier can route them (555 is not
/// an area code), so a list of them can never ring a person.
pub const TEST_PREFIX: &str = "+1555010";

/// What E.164 allows after the plus; nothing in service is shorter than seven.
const DIGITS: std::ops::RangeInclusive<usize> = 7..=15;

/// Why a text is not a number we can dial. Never holds the text: these sentences go into import
/// reports and logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BadPhone {
    /// Nothing but blanks.
    #[error("the phone number is empty")]
    Empty,
    /// Over [`MAX_INPUT_LEN`] bytes.
    #[error("the text is too long for a phone number: give one number in each field")]
    TextTooLong,
    /// No digits, or words between them.
    #[error("this is not a phone number")]
    NotANumber,
    /// `4.42079E+11` or `442079460119.0`: the digits that were there are lost or shifted.
    #[error(
        "a spreadsheet rounded this number or turned it into a decimal: format the column as text, restore the numbers and export again"
    )]
    Spreadsheet,
    /// A national number, and nothing says of which nation.
    #[error(
        "the number has no country: write it with + and the country code, or set a default country for the list"
    )]
    NeedsCountry,
    /// `+` and digits that no country owns.
    #[error("no country has the code that this number starts with")]
    UnknownCountry,
    /// Fewer digits than any number of its country.
    #[error("the number is too short for its country: digits are missing")]
    TooShort,
    /// More digits than any number of its country, or than E.164 allows.
    #[error("the number is too long for its country: it has extra digits")]
    TooLong,
    /// A plausible length, but a range that is not in use.
    #[error("no such number exists in its country: check the digits and the country")]
    Invalid,
    /// `x123`: it could be dialed only up to the switchboard.
    #[error("the number has an extension, which cannot be dialed: give a direct number")]
    Extension,
}

/// A phone number in international form: `+`, then 7 to 15 digits, valid for its country when it
/// was parsed, or one of the simulator's ([`TEST_PREFIX`]).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct E164(String);

impl E164 {
    /// Reads a number as people and spreadsheets write it; `region` is the country of a number
    /// without one.
    ///
    /// Blanks, dashes, dots, parentheses, full-width digits, a spreadsheet's leading apostrophe,
    /// trunk prefixes and, given a region, its international prefix (`00`, `011`) are understood.
    ///
    /// # Errors
    /// See [`BadPhone`].
    pub fn parse(text: &str, region: Option<Region>) -> Result<Self, BadPhone> {
        let text = text.trim();
        let text = text.strip_prefix('\'').unwrap_or(text).trim_start();
        if text.is_empty() {
            return Err(BadPhone::Empty);
        }
        if text.len() > MAX_INPUT_LEN {
            return Err(BadPhone::TextTooLong);
        }
        if made_by_a_spreadsheet(text) {
            return Err(BadPhone::Spreadsheet);
        }
        let number = PHONE_NUMBER_UTIL
            .parse(text, region.map(Region::to_lib))
            .map_err(|error| explain(&error, text, region))?;
        if number.extension.is_some() {
            return Err(BadPhone::Extension);
        }
        let this = Self(
            PHONE_NUMBER_UTIL
                .format(&number, PhoneNumberFormat::E164)
                .into_owned(),
        );
        if this.is_test() {
            return Ok(this);
        }
        if !PHONE_NUMBER_UTIL.is_valid_number(&number) {
            return Err(why_invalid(&number));
        }
        match this.0.len() - 1 {
            n if n < *DIGITS.start() => Err(BadPhone::TooShort),
            n if n > *DIGITS.end() => Err(BadPhone::TooLong),
            _ => Ok(this),
        }
    }

    /// The number: `+` and digits. Not for logs.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The country the number belongs to. `None` for the simulator's numbers, for global services
    /// (+800, +883) and for numbers that no country's plan knows any more.
    #[must_use]
    pub fn region(&self) -> Option<Region> {
        let number = self.to_lib()?;
        let region = PHONE_NUMBER_UTIL.get_region_for_number(&number)?;
        Region::parse(region.as_region_str().as_str()).ok()
    }

    /// The country calling code and the number within its plan, digits each (`44`, `2079460119`), for
    /// carriers that want them apart. `None` for a number that no plan can read any more.
    #[must_use]
    pub fn parts(&self) -> Option<(&str, &str)> {
        let code = self.to_lib()?.country_code.to_string();
        self.digits()
            .starts_with(&code)
            .then(|| self.digits().split_at(code.len()))
    }

    /// Whether it is one of the simulator's numbers: +1555010 and four digits.
    #[must_use]
    pub fn is_test(&self) -> bool {
        self.0.len() == TEST_PREFIX.len() + 4 && self.0.starts_with(TEST_PREFIX)
    }

    /// The digits without the plus.
    fn digits(&self) -> &str {
        &self.0[1..]
    }

    /// Where the numbering plan puts it: its country calling code, and whether its leading digits
    /// name a place. `None` if the plan cannot read it.
    fn place(&self) -> Option<(i32, bool)> {
        let number = self.to_lib()?;
        let geographic = PHONE_NUMBER_UTIL.is_number_geographical(&number);
        Some((number.country_code, geographic))
    }

    /// Its country calling code, its country if it has one, and how many digits after the calling
    /// code name an area: 0 if none do. `None` if the plan cannot read it.
    fn area(&self) -> Option<(i32, Option<Region>, usize)> {
        let number = self.to_lib()?;
        let region = PHONE_NUMBER_UTIL
            .get_region_for_number(&number)
            .and_then(|region| Region::parse(region.as_region_str().as_str()).ok());
        let length = PHONE_NUMBER_UTIL.get_length_of_geographical_area_code(&number);
        Some((number.country_code, region, length))
    }

    fn to_lib(&self) -> Option<PhoneNumber> {
        PHONE_NUMBER_UTIL.parse(&self.0, None).ok()
    }

    /// At least three digits stay hidden, however short the number is.
    fn masked(&self) -> String {
        let digits = self.digits();
        let (head, tail) = if digits.len() >= 10 { (4, 3) } else { (3, 1) };
        format!("+{}***{}", &digits[..head], &digits[digits.len() - tail..])
    }
}

impl fmt::Display for E164 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.masked())
    }
}

impl fmt::Debug for E164 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.masked())
    }
}

/// Only the shape is checked: what is stored or on the wire was parsed once, and numbering plans
/// change; a lead must not become unreadable because its range was withdrawn.
impl<'de> Deserialize<'de> for E164 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let shaped = text.strip_prefix('+').is_some_and(|digits| {
            DIGITS.contains(&digits.len())
                && !digits.starts_with('0')
                && digits.bytes().all(|b| b.is_ascii_digit())
        });
        if shaped {
            Ok(Self(text))
        } else {
            Err(serde::de::Error::custom(
                "a phone number is + and 7 to 15 digits",
            ))
        }
    }
}

impl JsonSchema for E164 {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "E164".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": r"^\+[1-9][0-9]{6,14}$",
            "description": "A phone number in international form.",
            "examples": ["+15550100123"],
        })
    }
}

/// Not a country whose numbers we can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "a country is its two-letter code, such as US, DE or GB (the United Kingdom is GB, not UK), and must have telephone numbers of its own"
)]
pub struct BadRegion;

/// A country: its ISO 3166 alpha-2 code in capitals, one that has a numbering plan.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Region([u8; 2]);

impl Region {
    /// Takes a two-letter code in either case, blanks around it ignored.
    ///
    /// # Errors
    /// It is not such a code, or no numbers are issued under it.
    pub fn parse(text: &str) -> Result<Self, BadRegion> {
        let &[a, b] = text.trim().as_bytes() else {
            return Err(BadRegion);
        };
        if !a.is_ascii_alphabetic() || !b.is_ascii_alphabetic() {
            return Err(BadRegion);
        }
        let this = Self([a.to_ascii_uppercase(), b.to_ascii_uppercase()]);
        PHONE_NUMBER_UTIL
            .get_country_code_for_region(this.to_lib())
            .map(|_| this)
            .ok_or(BadRegion)
    }

    /// The code in capitals.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("two ASCII letters, checked by parse")
    }

    fn to_lib(self) -> LibRegion {
        LibRegion::from_code(self.as_str()).expect("every pair of letters is one")
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl TryFrom<String> for Region {
    type Error = BadRegion;
    fn try_from(text: String) -> Result<Self, BadRegion> {
        Self::parse(&text)
    }
}

impl From<Region> for String {
    fn from(region: Region) -> Self {
        region.as_str().to_owned()
    }
}

impl JsonSchema for Region {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Region".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^[A-Za-z]{2}$",
            "description": "A country, ISO 3166-1 alpha-2.",
            "examples": ["US"],
        })
    }
}

/// `4.42079E+11` and `442079460119.0`. Read as phone numbers they would be other people's: E is 3
/// on a keypad, and in countries with numbers of any length one more digit is still a number.
fn made_by_a_spreadsheet(text: &str) -> bool {
    let text = text.strip_prefix(['+', '-']).unwrap_or(text);
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let decimal = |part: &str| {
        part.split_once(['.', ','])
            .map_or(digits(part), |(whole, rest)| digits(whole) && digits(rest))
    };
    if let Some((mantissa, exponent)) = text.split_once(['e', 'E']) {
        let exponent = exponent.strip_prefix('+').unwrap_or(exponent);
        return decimal(mantissa) && digits(exponent) && exponent.len() <= 2;
    }
    text.split_once(['.', ',']).is_some_and(|(whole, rest)| {
        whole.len() >= *DIGITS.start() && digits(whole) && matches!(rest, "0" | "00")
    })
}

fn explain(error: &ParseError, text: &str, region: Option<Region>) -> BadPhone {
    match error {
        ParseError::InvalidCountryCode if region.is_none() && !text.contains(['+', '+']) => {
            BadPhone::NeedsCountry
        }
        ParseError::InvalidCountryCode => BadPhone::UnknownCountry,
        ParseError::NotANumber(_) => BadPhone::NotANumber,
        ParseError::TooShortAfterIdd | ParseError::TooShortNsn => BadPhone::TooShort,
        ParseError::TooLongNsn => BadPhone::TooLong,
    }
}

fn why_invalid(number: &PhoneNumber) -> BadPhone {
    match PHONE_NUMBER_UTIL.is_possible_number_with_reason(number) {
        Err(ValidationError::TooShort) | Ok(NumberLengthType::IsPossibleLocalOnly) => {
            BadPhone::TooShort
        }
        Err(ValidationError::TooLong) => BadPhone::TooLong,
        Err(ValidationError::InvalidCountryCode) => BadPhone::UnknownCountry,
        Err(ValidationError::InvalidLength) | Ok(NumberLengthType::IsPossible) => BadPhone::Invalid,
    }
}
