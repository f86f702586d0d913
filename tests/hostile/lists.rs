//! Lead lists: every row is taken, or refused with its line and a reason.

use std::collections::BTreeMap;

use dialfleet_engine::intake::{BadRow, Format, Unusable, open};
use dialfleet_engine::message::LeadRow;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use proptest::test_runner::TestCaseResult;
use serde_json::Value;

use crate::cases;
use crate::mutate::{edits, json, mutated};

/// Good files of many kinds, to be spoiled.
pub(crate) const GOOD: [(Format, &str); 5] = [
    (
        Format::Csv,
        "phone,ref,timezone,priority,name\r\n+442079460119,a1,Europe/London,7,\"Smith, \"\"J\"\"\"\r\n\r\n+442079460120,,,,\"two\nlines\"\r\n",
    ),
    (
        Format::Csv,
        "\u{feff}Name;Phone\nRenée;+442079460119\nZoë;+442079460120\n;+442079460121",
    ),
    (
        Format::Csv,
        "phone\tnote\r+442079460119\tx\r+442079460120\ty\r",
    ),
    (
        Format::Ndjson,
        "{\"phone\":\"+442079460119\",\"ref\":\"a\",\"age\":7,\"vars\":{\"x\":\"y\",\"z\":null}}\n\n{\"phone\":442079460120,\"priority\":\"3\",\"ok\":true}\r\n",
    ),
    (Format::Ndjson, "{\"phone\":\"+442079460119\"}"),
];

type Row = Result<LeadRow, BadRow>;

/// What holds for any file.
fn check(bytes: &[u8], format: Format) -> TestCaseResult {
    let rows = match open(bytes, format) {
        Ok(rows) => rows,
        Err(why) => {
            let said = why.to_string();
            prop_assert!(!said.is_empty() && said.len() < 20_000);
            return Ok(());
        }
    };
    let (mut last, mut count) = (0, 0);
    for row in rows {
        let line = match row {
            Ok(row) => {
                prop_assert!(!row.phone.is_empty());
                prop_assert!(serde_json::to_vec(&row).unwrap().len() < 16 * 1024 * 1024);
                row.line.unwrap()
            }
            Err(bad) => {
                prop_assert!(!bad.code.is_empty() && !bad.message.is_empty());
                prop_assert!(bad.message.len() < 1_000, "{}", bad.message);
                bad.line
            }
        };
        prop_assert!(line > last, "line {} after {}", line, last);
        (last, count) = (line, count + 1);
    }
    let is_utf16 = bytes.starts_with(b"\xFF\xFE") || bytes.starts_with(b"\xFE\xFF");
    if format == Format::Ndjson && !is_utf16 {
        let text = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
        let lines = text.split(|b| *b == b'\n');
        let written = lines.filter(|line| !line.trim_ascii().is_empty()).count();
        prop_assert_eq!(count, written);
    }
    Ok(())
}

fn format() -> impl Strategy<Value = Format> {
    select(&[Format::Csv, Format::Ndjson])
}

#[test]
fn any_bytes() {
    let bytes = prop::collection::vec(any::<u8>(), 0..400);
    cases(3_000, (bytes, format()), |(bytes, format)| {
        check(&bytes, format)
    });
    let text = "[phone,;\t\"\r\n {}\\[\\]:0-9é\u{feff}]{0,120}";
    cases(3_000, (text, format()), |(text, format)| {
        check(format!("phone,x\n{text}").as_bytes(), format)?;
        check(text.as_bytes(), format)
    });
}

#[test]
fn spoiled_files() {
    let wide = |text: &str, little: bool| -> Vec<u8> {
        let unit = if little {
            u16::to_le_bytes
        } else {
            u16::to_be_bytes
        };
        let units = std::iter::once(0xFEFF).chain(text.encode_utf16());
        units.flat_map(unit).collect()
    };
    cases(
        6_000,
        (select(&GOOD), 0..3_u8, edits()),
        |((format, text), form, edits)| {
            let bytes = match form {
                0 => text.as_bytes().to_vec(),
                n => wide(text, n == 1),
            };
            check(&mutated(&bytes, &edits), format)
        },
    );
}

/// A field as anybody might fill it in.
fn field() -> impl Strategy<Value = String> + Clone {
    prop_oneof![
        "[a-z ,;\t\"\r\n'é=+\u{2028}-]{0,12}",
        "\\PC{0,8}",
        Just(String::new())
    ]
}

#[derive(Debug, Clone)]
enum Written {
    Good(Vec<String>),
    NoPhone(Vec<String>),
    TooMany(Vec<String>),
    Blank,
}

fn written(columns: usize) -> impl Strategy<Value = Written> {
    let fields = prop::collection::vec(field(), columns);
    prop_oneof![
        6 => fields.clone().prop_map(Written::Good),
        1 => fields.clone().prop_map(Written::NoPhone),
        1 => fields.prop_map(Written::TooMany),
        1 => Just(Written::Blank),
    ]
}

/// The lines of a text by everybody's count.
fn line_ends(text: &str) -> u64 {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    text.matches('\n').count().try_into().unwrap()
}

/// A file written by the book is read to the letter, however it is delimited, ended and encoded.
#[test]
fn files_by_the_book() {
    let names = vec!["phone", "ref", "name", "note"];
    let columns = subsequence(names, 2..=4).prop_shuffle();
    let columns = columns.prop_filter("a phone", |names| names.contains(&"phone"));
    let file = columns.prop_flat_map(|columns| {
        let rows = prop::collection::vec(written(columns.len()), 1..6);
        (Just(columns), rows)
    });
    let delimiter = select(&[',', ';', '\t']);
    let end = select(&["\n", "\r\n", "\r"]);
    cases(
        4_000,
        (file, delimiter, end, 0..4_u8),
        |((columns, rows), delimiter, end, form)| {
            let mut text = String::new();
            let mut line = |fields: &[String]| {
                let at = 1 + line_ends(&text);
                let quoted = fields.iter().map(|field| {
                    let special = |c: char| matches!(c, '"' | '\r' | '\n') || c == delimiter;
                    if field.contains(special) {
                        format!("\"{}\"", field.replace('"', "\"\""))
                    } else {
                        field.clone()
                    }
                });
                text.push_str(&quoted.collect::<Vec<_>>().join(&delimiter.to_string()));
                text.push_str(end);
                at
            };
            line(
                &columns
                    .iter()
                    .map(|name| (*name).to_owned())
                    .collect::<Vec<_>>(),
            );
            let at = columns.iter().position(|name| *name == "phone").unwrap();
            let mut expected = Vec::new();
            for (i, row) in rows.iter().enumerate() {
                match row {
                    Written::Good(fields) => {
                        let mut fields = fields.clone();
                        fields[at] = format!(" +44207946{i:04} ");
                        expected.push((line(&fields), Ok(fields)));
                    }
                    Written::NoPhone(fields) => {
                        let mut fields = fields.clone();
                        fields[at] = "  ".to_owned();
                        let blank = fields.iter().all(|f| f.as_bytes().trim_ascii().is_empty());
                        let line = line(&fields);
                        if !blank {
                            expected.push((line, Err("no_phone")));
                        }
                    }
                    Written::TooMany(fields) => {
                        let fields = [fields.as_slice(), &["more".to_owned()]].concat();
                        expected.push((line(&fields), Err("too_many_fields")));
                    }
                    Written::Blank => {
                        line(&[String::new()]);
                    }
                }
            }
            let bytes = match form {
                0 => text.clone().into_bytes(),
                1 => format!("\u{feff}{text}").into_bytes(),
                n => {
                    let unit = if n == 2 {
                        u16::to_le_bytes
                    } else {
                        u16::to_be_bytes
                    };
                    let text = format!("\u{feff}{text}");
                    text.encode_utf16().flat_map(unit).collect()
                }
            };
            let read: Vec<Row> = match open(&bytes, Format::Csv) {
                Ok(rows) => rows.collect(),
                Err(why) => {
                    prop_assert_eq!((why, expected.len()), (Unusable::NoRows, 0));
                    return Ok(());
                }
            };
            prop_assert_eq!(read.len(), expected.len(), "{:?}: {:?}", text, read);
            for (read, (line, expected)) in read.into_iter().zip(expected) {
                match (read, expected) {
                    (Err(bad), Err(code)) => prop_assert_eq!((bad.line, bad.code), (line, code)),
                    (Ok(row), Ok(fields)) => {
                        let mut wanted = LeadRow {
                            line: Some(line),
                            ..LeadRow::default()
                        };
                        for (name, field) in columns.iter().zip(&fields) {
                            let field = field.trim().to_owned();
                            match *name {
                                _ if field.is_empty() => {}
                                "phone" => wanted.phone = field,
                                "ref" => wanted.reference = Some(field),
                                other => drop(wanted.vars.insert(other.to_owned(), field)),
                            }
                        }
                        prop_assert_eq!(row, wanted);
                    }
                    (read, expected) => prop_assert!(false, "{:?} instead of {:?}", read, expected),
                }
            }
            Ok(())
        },
    );
}

#[test]
fn json_lines_of_any_shape() {
    let names = select(&["phone", "ref", "timezone", "priority", "vars", "x", "y", ""]);
    let members = prop::collection::vec((names, json()), 0..6);
    cases(3_000, members, |members| {
        let mut line = String::from("{");
        for (i, (name, value)) in members.iter().enumerate() {
            let comma = if i > 0 { "," } else { "" };
            line += &format!("{comma}{}:{value}", Value::from(*name));
        }
        line.push('}');
        check(line.as_bytes(), Format::Ndjson)?;
        let row = open(line.as_bytes(), Format::Ndjson)
            .unwrap()
            .next()
            .unwrap();
        let mut names: Vec<_> = members.iter().map(|(name, _)| *name).collect();
        names.sort_unstable();
        let twice = names.windows(2).any(|pair| pair[0] == pair[1]);
        if let Ok(row) = row {
            prop_assert!(!twice, "taken, with a name that is there twice: {}", line);
            let phone = members.iter().find(|(name, _)| *name == "phone");
            let phone = phone.map(|(_, value)| match value {
                Value::String(text) => text.trim().to_owned(),
                other => other.to_string(),
            });
            prop_assert_eq!(Some(row.phone), phone);
        }
        Ok(())
    });
}

fn read(bytes: &[u8], format: Format) -> Result<Vec<Row>, Unusable> {
    open(bytes, format).map(Iterator::collect)
}

/// The line and code of each bad row; the line and phone of each good one.
fn outline(bytes: &[u8], format: Format) -> Vec<(u64, String)> {
    let rows = read(bytes, format).unwrap().into_iter();
    rows.map(|row| match row {
        Ok(row) => (row.line.unwrap(), row.phone),
        Err(bad) => (bad.line, bad.code.to_owned()),
    })
    .collect()
}

#[test]
fn unusable_files() {
    let csv = |bytes: &[u8]| read(bytes, Format::Csv).unwrap_err();
    let long = format!("phone,{}\n1,2\n", "x".repeat(201));
    let quote = format!("\"phone,name\n{}", "+442079460119,x\n".repeat(10_000));
    let table: [(&[u8], Unusable); 12] = [
        (b"\xEF\xBB\xBF", Unusable::Empty),
        (b"\xFF\xFE", Unusable::Empty),
        (b"\xFF\xFEp\0h\0o\0n\0e\0\n\x001", Unusable::NotText),
        (b"\xFF\xFE\x00\xD8p\0", Unusable::NotText),
        (b"p\0h\0o\0n\0e\0\n\0", Unusable::NotText),
        (b"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1\0\0", Unusable::NotText),
        (b"\xFF\xD8\xFF\xE0,phone\n1,2\n", Unusable::NotText),
        (b"phone\r\n\r\n\r\n", Unusable::NoRows),
        (b"\"\"\n1\n", Unusable::NoPhone(String::new())),
        (long.as_bytes(), Unusable::BadName),
        (quote.as_bytes(), Unusable::BadName),
        (
            b"phone,PHONE\n1,2\n",
            Unusable::TwiceNamed("phone".to_owned()),
        ),
    ];
    for (bytes, why) in table {
        assert_eq!(
            csv(bytes),
            why,
            "{:?}",
            String::from_utf8_lossy(&bytes[..bytes.len().min(60)])
        );
    }
    for columns in [69, 1_024, 1_025, 1_000_000] {
        let header = format!("phone{}\n1\n", ",x".repeat(columns - 1));
        assert_eq!(
            csv(header.as_bytes()),
            Unusable::TooManyColumns,
            "{columns}"
        );
    }
    for format in [Format::Csv, Format::Ndjson] {
        assert_eq!(read(b" \t\r\n", format), Err(Unusable::Empty));
        let large = vec![b'\n'; dialfleet_engine::intake::MAX_FILE + 1];
        assert_eq!(read(&large, format), Err(Unusable::TooLarge));
    }
}

#[test]
fn odd_rows_of_csv() {
    let long = format!("phone,x\n1,{}\n2,b\n", "y".repeat(3_000_000));
    let wide = format!("phone,x\n1{}\n2,b\n", ",".repeat(2_000));
    let open_quote = format!("phone,x\n1,\"{}", "2,b\n".repeat(1_000_000));
    let table: [(&[u8], &[(u64, &str)]); 10] = [
        (
            b"phone,x\r1,a\r2,\xE9\r3,c\r",
            &[(2, "1"), (3, "not_utf8"), (4, "3")],
        ),
        (b"phone,x\n\r\n\r\r1,a\n\n2", &[(5, "1"), (7, "2")]),
        (b"phone,x\n\"1\"junk,\"a\"\"b\"\n", &[(2, "1junk")]),
        (b"phone,x\n1,\"a\n", &[(2, "1")]),
        (b"phone,x\n1,\0\n\0,a\n", &[]),
        (b"phone,,\n1,,\n2,,3\n", &[(2, "1"), (3, "too_many_fields")]),
        (b"x,phone\n\xE2\x80\x8B,+1\n", &[(2, "+1")]),
        (long.as_bytes(), &[(2, "row_too_long"), (3, "2")]),
        (wide.as_bytes(), &[(2, "row_too_long"), (3, "2")]),
        (open_quote.as_bytes(), &[(2, "row_too_long")]),
    ];
    for (bytes, expected) in table {
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]);
        let expected: Vec<_> = expected
            .iter()
            .map(|(l, s)| (*l, (*s).to_owned()))
            .collect();
        if expected.is_empty() {
            assert_eq!(
                read(bytes, Format::Csv),
                Err(Unusable::NotText),
                "{shown:?}"
            );
        } else {
            assert_eq!(outline(bytes, Format::Csv), expected, "{shown:?}");
        }
    }
}

#[test]
fn odd_lines_of_json() {
    let many: BTreeMap<String, u8> = (0..65).map(|i| (format!("v{i}"), 1)).collect();
    let many = format!(
        "{{\"phone\":\"1\",\"vars\":{}}}",
        serde_json::to_string(&many).unwrap()
    );
    let table: Vec<(String, &str)> = vec![
        ("[".repeat(100_000), "unreadable"),
        (
            format!("{}{}", "{\"a\":".repeat(100_000), "}".repeat(100_000)),
            "unreadable",
        ),
        (
            format!(
                "{{\"phone\":\"1\",\"vars\":{{\"a\":{}1{}}}}}",
                "[".repeat(100),
                "]".repeat(100)
            ),
            "1",
        ),
        (
            format!("{{\"phone\":\"1\",\"x\":\"{}\"}}", "y".repeat(3_000_000)),
            "row_too_long",
        ),
        (
            format!("{{\"phone\":\"1\",\"x\":\"{}\"}}", "y".repeat(2_001)),
            "value_too_long",
        ),
        (
            format!("{{\"phone\":\"1\",\"{}\":1}}", "y".repeat(201)),
            "bad_name",
        ),
        (many, "too_many_vars"),
        (r#"{"phone":"1","a\u0000b":"c"}"#.to_owned(), "bad_name"),
        (
            r#"{"phone":"1","vars":{"\u0000":"c"}}"#.to_owned(),
            "bad_name",
        ),
        (r#"{"phone":"1","phone":"2"}"#.to_owned(), "named_twice"),
        (
            r#"{"phone":"1","\u0070hone":"2"}"#.to_owned(),
            "named_twice",
        ),
        (
            r#"{"phone":"1","x":"2","vars":{"x":"3"}}"#.to_owned(),
            "named_twice",
        ),
        (
            r#"{"phone":"1","vars":{},"vars":{}}"#.to_owned(),
            "named_twice",
        ),
        (r#"{"phone":"\ud800"}"#.to_owned(), "unreadable"),
        (r#"{"phone":1e999}"#.to_owned(), "unreadable"),
        (r#"{"phone":[]}"#.to_owned(), "bad_value"),
        (r#"{"phone":null}"#.to_owned(), "no_phone"),
        (r#"{"phone":"  "}"#.to_owned(), "no_phone"),
        (r#"{"Phone":"1"}"#.to_owned(), "no_phone"),
        (r#"{"phone":"1"}{"phone":"2"}"#.to_owned(), "unreadable"),
        (r#"{"phone":"1"},"#.to_owned(), "unreadable"),
        (r#""+442079460119""#.to_owned(), "unreadable"),
        ("NaN".to_owned(), "unreadable"),
        (r#"{"phone":"1","vars":"text"}"#.to_owned(), "1"),
        (r#"{"phone":"\u0031"}"#.to_owned(), "1"),
    ];
    for (line, expected) in table {
        let text = format!("\n{line}\r\n{{\"phone\":\"last\"}}");
        let shown: String = line.chars().take(60).collect();
        let expected = [(2, expected.to_owned()), (3, "last".to_owned())];
        assert_eq!(
            outline(text.as_bytes(), Format::Ndjson),
            expected,
            "{shown}"
        );
    }
    // What was wrong is said without the value: these sentences are shown and logged.
    let said = read(br#""+442079460119""#, Format::Ndjson).unwrap();
    assert!(!said[0].as_ref().unwrap_err().message.contains("7946"));
}
