use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use dialfleet_adapters::carrier::sanspbx::SansPbx;
use dialfleet_adapters::carrier::telnyx::Telnyx;
use dialfleet_adapters::carrier::twilio::Twilio;
use dialfleet_adapters::system::SystemClock;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::*;

const GOOD: &str = r#"
[[carrier]]
id = "t1"
kind = "twilio"
account_sid = "AC1"
auth_token = { env = "TOKEN" }
cps = 2.5
caller_ids = ["+442079460000"]
"#;

/// Every key there is, with the secrets in the file.
const FULL: &str = r#"
[[carrier]]
id = "t1"
kind = "twilio"
base_url = "http://twilio.example"
account_sid = "AC1"
auth_token = "9f86d081884c7d659a2f"
api_key = "SK1"
api_secret = "e3b0c44298fc1c149afb"
cps = 2.5
channels = 10
weight = 3
caller_ids = ["+442079460000", { env = "CALLER" }]
rates = [{ prefix = "44", price_per_min = "0.0158", currency = "USD", increment = 1 }]
fees = { amd = "0.0075", stream_per_min = "0.004" }

[[carrier]]
id = "t2"
kind = "twilio"
base_url = "http://twilio.example"
account_sid = "AC2"
auth_token = { env = "TOKEN" }
cps = 1
caller_ids = ["+442079460001"]

[[carrier]]
id = "t3"
kind = "telnyx"
base_url = "http://telnyx.example"
api_key = "7d865e959b2466918c98"
connection_id = "1293384261075731461"
public_key = "A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg="
cps = 5
caller_ids = ["+442079460003"]

[[carrier]]
id = "t4"
kind = "sanspbx"
base_url = "http://pbx.example"
access_token = "ca978112ca1bbdcafac2"
access_key = "3e23e8160039594a3389"
api_user = "u"
api_password = "2e7d2c03a9507ae265ec"
app_id = 7
callback_sources = ["10.0.0.0/8"]
refusals = { "E1" = "retry_later" }
dispositions = { "BUSY" = "busy" }
max_call_s = 3600
cps = 5
caller_ids = ["+911140001234"]
"#;
const SECRETS: [&str; 7] = [
    "7d865e959b2466918c98",
    "ca978112ca1bbdcafac2",
    "3e23e8160039594a3389",
    "2e7d2c03a9507ae265ec",
    "9f86d081884c7d659a2f",
    "e3b0c44298fc1c149afb",
    "2c26b46b68ffc68ff99b",
];

fn env() -> BTreeMap<String, String> {
    [("TOKEN", SECRETS[6]), ("CALLER", "+442079460002")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
}

/// Parses and builds, as a process does at its start. The error is what it would print.
fn outcome(text: &str) -> Result<usize, String> {
    let carriers =
        parse(text, Path::new("/nowhere"), &env()).map_err(|error| format!("{error:#}"))?;
    let mut ids = BTreeSet::new();
    for carrier in &carriers {
        let (id, cps, built) = match &carrier.vendor {
            Vendor::Twilio(c) => {
                let built = Twilio::new(c.clone()).map(drop);
                (&c.id, c.cps, built.map_err(|error| error.to_string()))
            }
            Vendor::Telnyx(c) => {
                let built = Telnyx::new(c.clone(), Arc::new(SystemClock)).map(drop);
                (&c.id, c.cps, built.map_err(|error| error.to_string()))
            }
            Vendor::SansPbx(c) => {
                let built = SansPbx::new(c.clone()).map(drop);
                (&c.id, c.cps, built.map_err(|error| error.to_string()))
            }
        };
        assert!(ids.insert(id.clone()) && cps > 0.0 && cps <= 1_000.0);
        built?;
    }
    Ok(carriers.len())
}

/// What a person is told: something, without any piece of a secret.
fn check(text: &str) -> Result<(), TestCaseError> {
    let Err(error) = outcome(text) else {
        return Ok(());
    };
    prop_assert!(!error.trim().is_empty());
    for secret in SECRETS {
        for from in 0..secret.len() - 5 {
            let piece = &secret[from..from + 6];
            prop_assert!(!error.contains(piece), "{piece} is shown: {error}\n{text}");
        }
    }
    Ok(())
}

#[test]
fn a_good_file_and_what_can_be_wrong_with_it() {
    assert_eq!(outcome(FULL), Ok(4));
    let carriers = parse(GOOD, Path::new(""), &env()).expect("good");
    let Vendor::Twilio(twilio) = &carriers[0].vendor else {
        panic!("{carriers:?}")
    };
    assert_eq!(
        (twilio.auth_token.expose(), twilio.base_url.as_str()),
        (SECRETS[6], BASE_URL)
    );
    let good = |from: &str, to: &str| {
        assert!(GOOD.contains(from));
        GOOD.replace(from, to)
    };
    let full = |from: &str, to: &str| {
        assert!(FULL.contains(from));
        FULL.replace(from, to)
    };
    let token = "auth_token = \"9f86d081884c7d659a2f\"";
    let cases = [
        (good("TOKEN", "NOPE"), "NOPE"),
        (good("twilio", "pigeon"), "pigeon"),
        (good("twilio", "telnyx"), "api_key"),
        (good("cps = 2.5", "cps = 0"), "cps"),
        (good("cps = 2.5", "cps = -1"), "cps"),
        (good("cps = 2.5", "cps = nan"), "cps"),
        (good("cps = 2.5", "cps = inf"), "cps"),
        (good("cps = 2.5", "cps = 1e309"), "line 7"),
        (good("cps = 2.5", "cps = \"2\""), "line 7"),
        (good("cps = 2.5\n", ""), "cps"),
        (good("cps = 2.5", "cps = 1\ncps = 1"), "line 8"),
        (good("+442079460000", "12"), "caller id"),
        (good("+442079460000", "+1 555 555 5555"), "caller id"),
        (good("[\"+442079460000\"]", "[]"), "caller_ids"),
        (good("[\"+442079460000\"]", "\"+442079460000\""), "line 8"),
        (
            good("[\"+442079460000\"]", "[442079460000]"),
            "expected a text",
        ),
        (good("account_sid = \"AC1\"\n", ""), "account_sid"),
        (good("\"AC1\"", "\"AC/1\""), "account_sid"),
        (good("\"t1\"", "\"t/1\""), "id may have"),
        (good("\"t1\"", "\"\""), "id may have"),
        (
            good("\"t1\"", &format!("\"{}\"", "x".repeat(65))),
            "id may have",
        ),
        (
            good("{ env = \"TOKEN\" }", "{ env = \"TOKEN\", file = \"x\" }"),
            "expected a text",
        ),
        (good("{ env = \"TOKEN\" }", "\"\""), "auth_token"),
        (format!("{GOOD}{GOOD}"), "two carriers"),
        (format!("{GOOD}surprise = 1\n"), "surprise"),
        (format!("{GOOD}weight = 0\n"), "weight"),
        (format!("{GOOD}channels = 0\n"), "channels"),
        (format!("{GOOD}channels = -1\n"), "line 9"),
        (format!("{GOOD}base_url = \"https://u:p@h\"\n"), "base_url"),
        (format!("{GOOD}api_key = \"SK1\"\n"), "api_secret"),
        (String::new(), "no [[carrier]]"),
        ("carrier = []".to_owned(), "no [[carrier]]"),
        ("carrier = 1".to_owned(), "line 1"),
        ("[carrier]\nid = \"x\"".to_owned(), "line 1"),
        ("\u{0}".to_owned(), "line 1"),
        (format!("a = {}", "[".repeat(200_000)), "line 1"),
        (format!("{}.a = 1", vec!["a"; 200_000].join(".")), ""),
        // The secret in the wrong place, and the line it is on broken.
        (
            full(token, "auth_token = { env = \"9f86d081884c7d659a2f\" }"),
            "env must be",
        ),
        (full(token, "auth_token = 9f86d081884c7d659a2f"), "line 7"),
        (full(token, "auth_token = \"9f86d081884c7d659a2f"), "line 7"),
        (full(token, "auth_token \"9f86d081884c7d659a2f\""), "line 7"),
        (
            full(token, "auth_token = [\"9f86d081884c7d659a2f\"]"),
            "expected a text",
        ),
        (full(token, &format!("{token}\n{token}")), "line 8"),
        (
            full("cps = 2.5", "cps = \"9f86d081884c7d659a2f\""),
            "line 10",
        ),
        (
            full("channels = 10", "channels = \"e3b0c44298fc1c149afb\""),
            "line 11",
        ),
    ];
    for (text, needle) in cases {
        let error = outcome(&text).expect_err(needle);
        assert!(error.contains(needle), "{needle}: {error}");
        check(&text).expect("no secret is shown");
    }
}

/// The values of [`FULL`] that may be put in each other's place. Not of `id` and `kind`: those are
/// repeated, so that the person finds the entry.
fn values() -> Vec<&'static str> {
    let lines = FULL.lines().filter_map(|line| line.split_once(" = "));
    lines
        .filter(|(name, _)| !matches!(*name, "id" | "kind"))
        .map(|(_, value)| value)
        .chain(["true", "0", "-1", "[]", "{}", "2026-01-01", "\"\"", "nan"])
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1_500,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(7),
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_text(text in "[a-z=\"\\[\\]{}.,#'\\\\0-9 \n]{0,200}|\\PC{0,100}") {
        check(&text)?;
    }

    #[test]
    fn a_file_with_some_bytes_wrong(edits in prop::collection::vec((any::<prop::sample::Index>(), 0..4_u8, any::<u8>()), 1..5)) {
        let mut bytes = FULL.as_bytes().to_vec();
        for (at, how, byte) in edits {
            let at = at.index(bytes.len());
            match how {
                0 => bytes[at] = byte,
                1 => bytes[at] ^= 1 << (byte % 8),
                2 => bytes.insert(at, b"\"'[]{}=.,#\n\\"[usize::from(byte) % 12]),
                _ => drop(bytes.remove(at)),
            }
        }
        check(&String::from_utf8_lossy(&bytes))?;
    }

    #[test]
    fn a_file_cut_off(at in 0..FULL.len()) {
        check(&FULL[..at])?;
    }

    #[test]
    fn values_in_the_wrong_places(swaps in prop::collection::vec((0..49_usize, any::<prop::sample::Index>()), 1..4)) {
        let values = values();
        let mut lines: Vec<String> = FULL.lines().map(str::to_owned).collect();
        for (line, value) in swaps {
            if let Some((name, _)) = lines[line + 1].clone().split_once(" = ").filter(|(name, _)| !matches!(*name, "id" | "kind")) {
                lines[line + 1] = format!("{name} = {}", value.get(&values));
            }
        }
        check(&lines.join("\n"))?;
    }
}
