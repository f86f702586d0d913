//! How a number is written for the exchange: it has a dial plan of its own and takes no E.164.
//!
//! A number without its country is another person's number in another country: `0` and the ten digits
//! of a number in New York are a telephone in India. So a format that leaves the country out is used
//! for numbers of one country only, the exchange's own.

use dialfleet_domain::phone::E164;
use thiserror::Error;

/// Why a format is not one.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "\"{0}\" is not a number format: digits, +, * and #, with {{e164}}, {{digits}}, {{cc}}, {{national}} or {{last1}} to {{last15}} in it"
)]
pub struct BadFormat(String);

/// Why a number is not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum Unwritable {
    #[error("the number is not of the country that this exchange dials in")]
    Abroad,
    #[error("the number cannot be taken apart")]
    Unreadable,
}

/// A pattern such as `0{national}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NumberFormat {
    pieces: Vec<Piece>,
    /// The only country whose numbers may be written with it; `None`: the country is written, too.
    country: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    /// `+44207…`
    E164,
    /// `44207…`
    Digits,
    CountryCode,
    National,
    /// So many digits of the end.
    Last(usize),
}

impl NumberFormat {
    /// `country` is the calling code of the exchange's country, digits only.
    pub(super) fn parse(text: &str, country: &str) -> Result<Self, BadFormat> {
        let bad = || BadFormat(text.chars().take(60).collect());
        let mut pieces = Vec::new();
        let mut rest = text.trim();
        while !rest.is_empty() {
            let (plain, after) = rest.split_at(rest.find('{').unwrap_or(rest.len()));
            if !plain
                .bytes()
                .all(|b| b.is_ascii_digit() || b"+*#".contains(&b))
            {
                return Err(bad());
            }
            if !plain.is_empty() {
                pieces.push(Piece::Text(plain.to_owned()));
            }
            rest = after;
            if let Some(inside) = rest.strip_prefix('{') {
                let (name, after) = inside.split_once('}').ok_or_else(bad)?;
                pieces.push(Piece::named(name).ok_or_else(bad)?);
                rest = after;
            }
        }
        let names_a_number = |piece: &Piece| !matches!(piece, Piece::Text(_) | Piece::CountryCode);
        let names_the_country =
            |piece: &Piece| matches!(piece, Piece::E164 | Piece::Digits | Piece::CountryCode);
        if !pieces.iter().any(names_a_number) {
            return Err(bad());
        }
        let abroad = pieces.iter().any(names_the_country);
        Ok(Self {
            pieces,
            country: (!abroad).then(|| country.to_owned()),
        })
    }

    /// The number as the exchange wants it.
    pub(super) fn write(&self, number: &E164) -> Result<String, Unwritable> {
        let (code, national) = number.parts().ok_or(Unwritable::Unreadable)?;
        if self.country.as_ref().is_some_and(|country| country != code) {
            return Err(Unwritable::Abroad);
        }
        let digits = number.as_str().trim_start_matches('+');
        let mut out = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::E164 => out.push_str(number.as_str()),
                Piece::Digits => out.push_str(digits),
                Piece::CountryCode => out.push_str(code),
                Piece::National => out.push_str(national),
                Piece::Last(n) => out.push_str(&national[national.len().saturating_sub(*n)..]),
            }
        }
        Ok(out)
    }
}

impl Piece {
    fn named(name: &str) -> Option<Self> {
        match name {
            "e164" => Some(Self::E164),
            "digits" => Some(Self::Digits),
            "cc" => Some(Self::CountryCode),
            "national" => Some(Self::National),
            _ => {
                let n = name.strip_prefix("last")?.parse().ok()?;
                (1..=15).contains(&n).then_some(Self::Last(n))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> E164 {
        E164::parse(text, None).unwrap()
    }

    #[test]
    fn formats_write_numbers() {
        let table = [
            ("0{national}", "09876543210"),
            ("{national}", "9876543210"),
            ("{cc}{national}", "919876543210"),
            ("{digits}", "919876543210"),
            ("{e164}", "+919876543210"),
            ("00{cc}{national}", "00919876543210"),
            ("9{last7}", "96543210"),
            ("{last15}", "9876543210"),
            ("*7#{national}", "*7#9876543210"),
        ];
        for (format, written) in table {
            let format = NumberFormat::parse(format, "91").unwrap();
            assert_eq!(format.write(&number("+919876543210")).unwrap(), written);
        }
    }

    #[test]
    fn a_number_from_abroad_is_never_written_without_its_country() {
        let new_york = number("+12125550123");
        for format in ["0{national}", "{national}", "{last10}"] {
            let format = NumberFormat::parse(format, "91").unwrap();
            assert_eq!(format.write(&new_york), Err(Unwritable::Abroad));
        }
        for (format, written) in [
            ("{e164}", "+12125550123"),
            ("00{digits}", "0012125550123"),
            ("{cc}{last10}", "12125550123"),
        ] {
            let format = NumberFormat::parse(format, "91").unwrap();
            assert_eq!(format.write(&new_york).unwrap(), written);
        }
        let nobodys: E164 = serde_json::from_str("\"+9991234567\"").unwrap();
        let format = NumberFormat::parse("{e164}", "91").unwrap();
        assert_eq!(format.write(&nobodys), Err(Unwritable::Unreadable));
    }

    #[test]
    fn what_is_no_format_is_refused() {
        for text in [
            "",
            "0",
            "{cc}",
            "{nation}",
            "{national",
            "national}",
            "{}",
            "0 {national}",
            "{last0}",
            "{last16}",
            "{last}",
            "{{national}}",
            "a{national}",
            "{NATIONAL}",
        ] {
            assert!(NumberFormat::parse(text, "91").is_err(), "{text}");
        }
    }
}
