//! `rates` and `fees`: what a carrier account charges.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, ensure};
use dialfleet_domain::rates::{RateDeck, Row};
use dialfleet_domain::tariff::{Fees, FeesDraft};
use serde::de::value::SeqAccessDeserializer;
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// A deck as the file gives it.
pub(super) enum Rates {
    /// In a CSV file of its own.
    File(String),
    /// Here.
    Rows(Vec<Row>),
}

/// By hand: an untagged enum would not say which row is wrong, and why.
impl<'de> Deserialize<'de> for Rates {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Rates;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "the path of a CSV file, or rows such as { prefix = \"44\", price_per_min = \"0.0158\", currency = \"USD\" }",
                )
            }

            fn visit_str<E: Error>(self, path: &str) -> Result<Rates, E> {
                Ok(Rates::File(path.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, rows: A) -> Result<Rates, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(rows)).map(Rates::Rows)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// The deck, if there is one. A path is relative to `folder`.
pub(super) fn read(
    rates: Option<Rates>,
    fees: Option<FeesDraft>,
    folder: &Path,
) -> anyhow::Result<Option<Arc<RateDeck>>> {
    let Some(rates) = rates else {
        ensure!(
            fees.is_none(),
            "fees are in the currency of rates, and there are no rates"
        );
        return Ok(None);
    };
    let fees = Fees::try_from(fees.unwrap_or_default()).context("fees")?;
    let deck = match rates {
        Rates::Rows(rows) => RateDeck::from_rows(rows, fees).context("rates")?,
        Rates::File(name) => {
            // Any other text may be a secret in the wrong place, which no message may show.
            ensure!(
                name.ends_with(".csv"),
                "rates must be a list of rows, or the path of a file whose name ends with .csv"
            );
            let path = folder.join(name);
            let text = std::fs::read_to_string(&path)
                .with_context(|| format!("rates: {} cannot be read", path.display()))?;
            RateDeck::parse_csv(&text, fees)
                .with_context(|| format!("rates: {}", path.display()))?
        }
    };
    Ok(Some(Arc::new(deck)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use dialfleet_domain::phone::E164;
    use dialfleet_domain::rates::MAX_FAULTS;

    use super::super::parse;
    use super::*;

    const GOOD: &str = r#"
[[carrier]]
id = "t1"
kind = "twilio"
account_sid = "AC1"
auth_token = "token"
cps = 2.5
caller_ids = ["+442079460000"]
"#;
    const ROW: &str = r#"{ prefix = "44", price_per_min = "0.0158", currency = "USD" }"#;

    /// The carrier of [`GOOD`] with more lines, read in `folder`.
    fn priced(more: &str, folder: &Path) -> Result<Option<Arc<RateDeck>>, String> {
        let carriers = parse(&format!("{GOOD}{more}\n"), folder, &BTreeMap::new());
        let mut carriers = carriers.map_err(|error| format!("{error:#}"))?;
        Ok(carriers.pop().expect("one").deck)
    }

    #[test]
    fn rates_in_the_file_and_in_a_file_of_their_own() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("decks")).expect("a folder");
        let csv =
            "prefix,price_per_min,currency,minimum\n# mobile\n447,0.032,USD,30\n44,0.0158,USD,\n";
        let absolute = folder.path().join("decks/t1.csv");
        std::fs::write(&absolute, csv).expect("written");
        let row = |prefix: &str, price: &str, more: &str| {
            format!(
                "{{ prefix = \"{prefix}\", price_per_min = \"{price}\", currency = \"USD\"{more} }}"
            )
        };
        let inline = format!(
            "rates = [{}, {}]",
            row("447", "0.032", ", minimum = 30"),
            row("44", "0.0158", "")
        );
        let tables = "[[carrier.rates]]\nprefix = \"44\"\nprice_per_min = \"0.0158\"\ncurrency = \"USD\"\n\
                  [[carrier.rates]]\nprefix = \"447\"\nprice_per_min = \"0.032\"\ncurrency = \"USD\"\nminimum = 30";
        let want = priced(&inline, folder.path())
            .expect("good")
            .expect("a deck");
        assert_eq!((want.rows(), want.currency().as_str()), (2, "USD"));
        for more in [
            "rates = \"decks/t1.csv\"".to_owned(),
            format!("rates = '{}'", absolute.display()),
            tables.to_owned(),
            format!("{inline}\nfees = {{}}"),
        ] {
            assert_eq!(
                priced(&more, folder.path()),
                Ok(Some(want.clone())),
                "{more}"
            );
        }
        assert_eq!(priced("", folder.path()), Ok(None));
        let fees = "fees = { amd = \"0.0075\", stream_per_min = \"0.004\" }";
        let deck = priced(&format!("{inline}\n{fees}"), folder.path())
            .expect("good")
            .expect("a deck");
        let phone = E164::parse("+442079460119", None).expect("a number");
        let fees = deck.rate(&phone).expect("priced").tariff.fees;
        assert_eq!(
            (fees.amd.to_string(), fees.stream_per_min.to_string()),
            ("0.0075".to_owned(), "0.004".to_owned())
        );
        // As a process reads it: the path begins where carriers.toml is.
        let toml = folder.path().join("carriers.toml");
        std::fs::write(&toml, format!("{GOOD}rates = \"decks/t1.csv\"\n")).expect("written");
        let carriers = super::super::read(&toml, &BTreeMap::new()).expect("good");
        assert_eq!(carriers[0].deck, Some(want));
    }

    #[test]
    fn what_can_be_wrong_with_rates() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = |name: &str, text: &[u8]| {
            std::fs::write(folder.path().join(name), text).expect("written");
            format!("rates = \"{name}\"")
        };
        let head = "prefix,price_per_min,currency\n";
        let many = format!("{head}{}", "x,1,USD\n".repeat(MAX_FAULTS + 5));
        let row = |from: &str, to: &str| {
            let second = ROW.replace("44", "33");
            assert!(second.contains(from));
            format!("rates = [{ROW}, {}]", second.replace(from, to))
        };
        let cases = [
            ("rates = []".to_owned(), "no price"),
            (
                "rates = { GB = 0.01 }".to_owned(),
                "line 9, rates: invalid type: map, expected the path of a CSV file, or rows such as { prefix",
            ),
            ("rates = 0.01".to_owned(), "line 9, rates"),
            ("rates = [\"44\"]".to_owned(), "line 9, rates"),
            (
                row("\"0.0158\"", "0.0158"),
                "line 9, rates: invalid type: floating point `0.0158`, expected a string",
            ),
            (
                row("\"0.0158\"", "\"0,0158\""),
                "carrier \"t1\": rates: row 2: price_per_min",
            ),
            (
                row("\"0.0158\"", "\"-1\""),
                "row 2: price_per_min must not be negative",
            ),
            (row("USD", "EUR"), "row 2: the currency"),
            (row("USD", "dollar"), "row 2: a currency"),
            (row("\"33\"", "\"0033\""), "row 2: prefix"),
            (row("\"33\"", "\"+44\""), "row 2: the prefix 44"),
            (row(" }", ", incremant = 6 }"), "incremant"),
            (row(" }", ", increment = 0 }"), "row 2: increment"),
            (row(", currency = \"USD\"", ""), "currency"),
            ("rates = \"rates.toml\"".to_owned(), ".csv"),
            ("rates = \"none.csv\"".to_owned(), "none.csv cannot be read"),
            (
                file(
                    "latin.csv",
                    b"prefix,price_per_min,currency,comment\n44,0.01,USD,Gro\xdf\n",
                ),
                "latin.csv cannot be read",
            ),
            (file("empty.csv", b""), "empty"),
            (
                file(
                    "one.csv",
                    format!("{head}\n44,0.01,USD\n44,x,USD\n").as_bytes(),
                ),
                "one.csv: line 4: price_per_min",
            ),
            (file("many.csv", many.as_bytes()), "; and 5 more"),
            ("fees = { amd = \"0.0075\" }".to_owned(), "no rates"),
            (
                format!("rates = [{ROW}]\nfees = {{ amd = \"-1\" }}"),
                "carrier \"t1\": fees: amd",
            ),
            (
                format!("rates = [{ROW}]\nfees = {{ amd = 0.0075 }}"),
                "line 10, fees",
            ),
            (format!("rates = [{ROW}]\nfees = {{ tax = \"1\" }}"), "tax"),
            (format!("rates = [{ROW}]\nfees = \"1\""), "line 10, fees"),
        ];
        for (more, needle) in cases {
            let error = priced(&more, folder.path()).expect_err(needle);
            assert!(error.contains(needle), "{needle}: {error}");
        }
        // A secret in the wrong place.
        for secret in ["9f86d081884c7d659a2f", "/run/secrets", "TOKEN"] {
            let error = priced(&format!("rates = \"{secret}\""), folder.path()).expect_err(secret);
            assert!(!error.contains(secret), "{error}");
        }
    }
}
