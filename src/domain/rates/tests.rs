use proptest::prelude::*;

use super::*;

fn phone(digits: &str) -> E164 {
    serde_json::from_value(format!("+{digits}").into()).expect(digits)
}

fn deck(csv: &str) -> RateDeck {
    RateDeck::parse_csv(csv, Fees::default()).expect("a good deck")
}

const GOOD: &str = "\u{feff}prefix,price_per_min,currency,increment,minimum,per_call,Destination
# North America
1,0.0140,USD,60,60,,\"United States, Canada\"
+1907,0.09,usd,60/60,,0.01,Alaska

44,0.0158,USD,6/6,,,UK
447,\"0.0320\",USD,1,30,,\"UK \"\"mobile\"\"\"
";

#[test]
fn the_longest_prefix_decides() {
    let deck = deck(GOOD);
    assert_eq!((deck.rows(), deck.currency()), (4, Currency::USD));
    for (number, want) in [
        ("12125550123", Some(("0.014", 60, 60, "0", 1))),
        ("19075550123", Some(("0.09", 60, 60, "0.01", 4))),
        ("442079460119", Some(("0.0158", 6, 6, "0", 2))),
        ("447911123456", Some(("0.032", 30, 1, "0", 3))),
        ("33123456789", None),
    ] {
        let got = deck.rate(&phone(number)).map(|rate| {
            let t = rate.tariff;
            let texts = (t.per_min.to_string(), t.per_call.to_string());
            (texts, t.minimum_s, t.increment_s, rate.prefix_len)
        });
        let want = want.map(|(per_min, minimum, increment, per_call, length)| {
            let texts = (per_min.to_owned(), per_call.to_owned());
            (texts, minimum, increment, length)
        });
        assert_eq!(got, want, "{number}");
    }
}

#[test]
fn what_is_not_said_is_as_the_large_carriers_bill() {
    let deck = deck("prefix,price_per_min,currency\n91,0.04,EUR\n");
    let tariff = deck.rate(&phone("918012345678")).expect("priced").tariff;
    assert_eq!((tariff.minimum_s, tariff.increment_s), (60, 60));
}

#[test]
fn faults_are_named_with_their_lines() {
    let head = "prefix,price_per_min,currency,increment,minimum,per_call\n";
    for (body, line, needle) in [
        ("44,0.01,USD,60,60,\n44,0.02,USD,60,60,\n", 3, "before"),
        (
            "44,0.01,USD,60,60,\n45,0.02,EUR,60,60,\n",
            3,
            "one currency",
        ),
        ("# c\n\n0044,0.01,USD,60,60,\n", 4, "prefix"),
        ("4x,0.01,USD,60,60,\n", 2, "prefix"),
        ("1234567890123456,0.01,USD,60,60,\n", 2, "prefix"),
        ("44,\"0,01\",USD,60,60,\n", 2, "price_per_min"),
        ("44,0,01,USD,60,60,\n", 2, "7 fields"),
        ("44,-0.01,USD,60,60,\n", 2, "negative"),
        ("44,0.01,DOLLAR,60,60,\n", 2, "three-letter"),
        ("44,0.01,USD,0,60,\n", 2, "increment"),
        ("44,0.01,USD,9999,60,\n", 2, "increment"),
        ("44,0.01,USD,1.5,60,\n", 2, "whole seconds"),
        ("44,0.01,USD,60/60,60,\n", 2, "too much"),
        ("44,0.01,USD,60,x,\n", 2, "minimum"),
        ("44,0.01,USD,60,60,free\n", 2, "per_call"),
        ("44,,USD,60,60,\n", 2, "price_per_min is empty"),
        ("\"44,0.01,USD,60,60,\n", 2, "not closed"),
        ("\"44\"5,0.01,USD,60,60,\n", 2, "closing quote"),
    ] {
        let bad = RateDeck::parse_csv(&format!("{head}{body}"), Fees::default()).expect_err(body);
        assert_eq!(bad.faults[0].line, line, "{body:?} {bad}");
        assert!(bad.to_string().contains(needle), "{body:?} {bad}");
    }
    for (text, needle) in [
        ("", "empty"),
        ("prefix,price_per_min\n44,0.01\n", "currency"),
        ("prefix,price_per_min,currency,per_cal\n", "per_cal"),
        ("prefix,prefix,price_per_min,currency\n", "twice"),
        ("prefix,price_per_min,currency\n", "no price"),
    ] {
        let bad = RateDeck::parse_csv(text, Fees::default()).expect_err(text);
        assert!(bad.to_string().contains(needle), "{text:?} {bad}");
    }
}

#[test]
fn many_faults_are_counted_not_listed() {
    let body = "x,1,USD\n".repeat(50);
    let text = format!("prefix,price_per_min,currency\n{body}");
    let bad = RateDeck::parse_csv(&text, Fees::default()).expect_err("wrong");
    assert_eq!((bad.faults.len(), bad.count), (MAX_FAULTS, 50));
    assert!(bad.to_string().ends_with("and 30 more"), "{bad}");
}

#[test]
fn rows_of_a_configuration_file_are_the_same() {
    let json = r#"[{"prefix":"1","price_per_min":"0.0140","currency":"USD","increment":60,"minimum":60},
        {"prefix":"+1907","price_per_min":"0.09","currency":"usd","per_call":"0.01"},
        {"prefix":"44","price_per_min":"0.0158","currency":"USD","increment":6},
        {"prefix":"447","price_per_min":"0.0320","currency":"USD","increment":1,"minimum":30}]"#;
    let rows: Vec<Row> = serde_json::from_str(json).expect("rows");
    assert_eq!(RateDeck::from_rows(rows, Fees::default()), Ok(deck(GOOD)));
    let float = r#"{"prefix":"1","price_per_min":0.0140,"currency":"USD"}"#;
    assert!(serde_json::from_str::<Row>(float).is_err());
    let twice = r#"[{"prefix":"1","price_per_min":"0.0140","currency":"USD"},
        {"prefix":"+1","price_per_min":"0.09","currency":"USD"}]"#;
    let rows: Vec<Row> = serde_json::from_str(twice).expect("rows");
    let bad = RateDeck::from_rows(rows, Fees::default()).expect_err("twice");
    assert_eq!(bad.to_string(), "row 2: the prefix 1 was priced before");
}

proptest! {
    #[test]
    fn the_same_answer_as_by_trying_every_row(
        prefixes in prop::collection::btree_set("[1-9][0-4]{0,6}", 1..60),
        numbers in prop::collection::vec("[1-9][0-4]{6,14}", 1..40),
    ) {
        let rows: Vec<Row> = (0_u32..)
            .zip(&prefixes)
            .map(|(i, prefix)| Row {
                prefix: prefix.clone(),
                price_per_min: format!("0.{i:04}1"),
                currency: "USD".to_owned(),
                increment: None,
                minimum: None,
                per_call: None,
            })
            .collect();
        let deck = RateDeck::from_rows(rows.clone(), Fees::default()).expect("good rows");
        for number in &numbers {
            let naive = rows
                .iter()
                .filter(|row| number.starts_with(row.prefix.as_str()))
                .max_by_key(|row| row.prefix.len())
                .map(|row| row.price_per_min.clone());
            let found = deck.rate(&phone(number)).map(|rate| rate.tariff.per_min.to_string());
            prop_assert_eq!(found, naive, "{}", number);
        }
    }

    #[test]
    fn no_text_panics(text in "(?s).{0,200}") {
        let _ = RateDeck::parse_csv(&text, Fees::default());
        let _ = RateDeck::parse_csv(&format!("prefix,price_per_min,currency\n{text}"), Fees::default());
    }
}
