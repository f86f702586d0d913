//! Lead files at the door: CSV and NDJSON, read row by row, every bad row named with its line.
//!
//! A file is refused whole only when no row of it can be trusted: it is empty, not text, or its
//! header names no phone column. Everything else is a matter of single rows.
//!
//! What is held besides the file's text is one row, at most [`MAX_ROW`] long, whatever is in it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use csv_core::ReadRecordResult;
use dialfleet_domain::lead::{MAX_VAR_LEN, MAX_VAR_NAME, MAX_VARS, is_var_name};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use thiserror::Error;

use crate::message::{LeadRow, Written};

/// Bytes a file may have.
pub const MAX_FILE: usize = 64 * 1024 * 1024;
/// Bytes a row may have: more than any good one, also with all its letters written as escapes.
pub const MAX_ROW: usize = 2 * 1024 * 1024;
/// Columns a file may have.
const MAX_COLUMNS: usize = MAX_VARS + 4;
/// Fields of a row that are read, to say how many there are.
const MAX_FIELDS: usize = 1_024;

/// Why a file is refused whole.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Unusable {
    /// Nothing in it.
    #[error("the file is empty")]
    Empty,
    /// A header and nothing else.
    #[error("the file has a header but no rows")]
    NoRows,
    /// Not text.
    #[error("the file is not text: save it as CSV in UTF-8")]
    NotText,
    /// No phone column.
    #[error(
        "the header has no column \"phone\" (it has: {0}); name the column with the numbers \"phone\""
    )]
    NoPhone(String),
    /// Two columns of the same name.
    #[error("the header has the column \"{0}\" twice")]
    TwiceNamed(String),
    /// A column without a name.
    #[error("column {0} of the header has no name")]
    Unnamed(usize),
    /// Too many columns.
    #[error("the header has more than {MAX_COLUMNS} columns")]
    TooManyColumns,
    /// A name that is none.
    #[error(
        "the header has a column name of more than {MAX_VAR_NAME} bytes; is a quote not closed?"
    )]
    BadName,
    /// Larger than we take.
    #[error("the file is larger than {} MiB; split it", MAX_FILE / 1024 / 1024)]
    TooLarge,
}

/// A row that could not even be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRow {
    /// Its line; the header is line 1.
    pub line: u64,
    /// A stable code.
    pub code: &'static str,
    /// A sentence for whoever made the file.
    pub message: String,
}

/// The form of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Comma, semicolon or tab separated, with a header.
    Csv,
    /// One JSON object a line.
    Ndjson,
}

/// The rows of a file.
pub type Rows<'a> = Box<dyn Iterator<Item = Result<LeadRow, BadRow>> + Send + 'a>;

/// Opens a file. UTF-8 with or without a byte order mark, and UTF-16 with one, as spreadsheets
/// write it.
///
/// # Errors
/// The file is unusable as a whole.
pub fn open(bytes: &[u8], format: Format) -> Result<Rows<'_>, Unusable> {
    if bytes.len() > MAX_FILE {
        return Err(Unusable::TooLarge);
    }
    let text = decode(bytes)?;
    if text.iter().all(u8::is_ascii_whitespace) {
        return Err(Unusable::Empty);
    }
    match format {
        Format::Csv => csv_rows(text),
        Format::Ndjson => Ok(ndjson_rows(text)),
    }
}

fn decode(bytes: &[u8]) -> Result<Cow<'_, [u8]>, Unusable> {
    let utf16 = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        let units = bytes.chunks_exact(2).map(|pair| unit([pair[0], pair[1]]));
        char::decode_utf16(units)
            .collect::<Result<String, _>>()
            .map_err(|_| Unusable::NotText)
            .and_then(|text| match bytes.len() % 2 {
                0 => Ok(text.into_bytes()),
                _ => Err(Unusable::NotText),
            })
    };
    match bytes {
        [0xEF, 0xBB, 0xBF, rest @ ..] => Ok(Cow::Borrowed(rest)),
        [0xFF, 0xFE, rest @ ..] => Ok(Cow::Owned(utf16(rest, u16::from_le_bytes)?)),
        [0xFE, 0xFF, rest @ ..] => Ok(Cow::Owned(utf16(rest, u16::from_be_bytes)?)),
        // A NUL in the beginning: UTF-16 without its mark, a spreadsheet's own format, an archive.
        _ if bytes.iter().take(4096).any(|b| *b == 0) || bytes.starts_with(b"PK\x03\x04") => {
            Err(Unusable::NotText)
        }
        _ => Ok(Cow::Borrowed(bytes)),
    }
}

fn csv_rows(text: Cow<'_, [u8]>) -> Result<Rows<'_>, Unusable> {
    let mut records = Records::new(text);
    let columns = match records.read() {
        None => return Err(Unusable::Empty),
        Some((_, Err(TooLong))) => return Err(Unusable::TooManyColumns),
        Some((_, Ok(header))) => columns(&header)?,
    };
    let mut rows = std::iter::from_fn(move || {
        loop {
            let (line, fields) = records.read()?;
            match fields {
                Ok(fields) if fields.iter().all(|field| field.trim_ascii().is_empty()) => {}
                Ok(fields) => return Some(row(&columns, &fields, line)),
                Err(TooLong) => {
                    let message = format!(
                        "the row is longer than {} MiB or has more than {MAX_FIELDS} fields; is a quote not closed?",
                        MAX_ROW / 1024 / 1024
                    );
                    return Some(Err(BadRow {
                        line,
                        code: "row_too_long",
                        message,
                    }));
                }
            }
        }
    })
    .peekable();
    if rows.peek().is_none() {
        return Err(Unusable::NoRows);
    }
    Ok(Box::new(rows))
}

/// A record that does not fit.
struct TooLong;

/// The records of a CSV text, read into room of a fixed size.
struct Records<'a> {
    text: Cow<'a, [u8]>,
    at: usize,
    parser: csv_core::Reader,
    room: Vec<u8>,
    ends: Vec<usize>,
    lines: Lines,
}

impl<'a> Records<'a> {
    fn new(text: Cow<'a, [u8]>) -> Self {
        let first_line = text
            .split(|b| matches!(b, b'\r' | b'\n'))
            .find(|l| !l.trim_ascii().is_empty())
            .unwrap_or_default();
        let delimiter = [b',', b';', b'\t']
            .into_iter()
            .max_by_key(|d| (first_line.iter().filter(|b| *b == d).count(), *d == b','))
            .unwrap_or(b',');
        Self {
            at: 0,
            parser: csv_core::ReaderBuilder::new().delimiter(delimiter).build(),
            room: vec![0; MAX_ROW.min(text.len())],
            ends: vec![0; MAX_FIELDS],
            lines: Lines::default(),
            text,
        }
    }

    /// The next record with its line; `None` at the end.
    fn read(&mut self) -> Option<(u64, Result<Vec<&[u8]>, TooLong>)> {
        let line = self.lines.line_at(&self.text, self.at);
        let (mut filled, mut fields) = (0, 0);
        let mut fits = true;
        loop {
            let (read, input, output, ends) = self.parser.read_record(
                &self.text[self.at..],
                &mut self.room[filled..],
                &mut self.ends[fields..],
            );
            self.at += input;
            filled += output;
            fields += ends;
            match read {
                // The text is whole: asked once more, with nothing left, it says how it ends.
                ReadRecordResult::InputEmpty => {}
                // Read on to its end, and forget it.
                ReadRecordResult::OutputFull | ReadRecordResult::OutputEndsFull => {
                    (filled, fields, fits) = (0, 0, false);
                }
                ReadRecordResult::Record => break,
                ReadRecordResult::End => return None,
            }
        }
        if !fits {
            return Some((line, Err(TooLong)));
        }
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        let fields = starts
            .zip(&self.ends[..fields])
            .map(|(start, end)| &self.room[start..*end])
            .collect();
        Some((line, Ok(fields)))
    }
}

/// Counts lines as an editor shows them, whatever ends them. The parser's own count lags behind at
/// CRLF, whose second half it takes together with the next record.
#[derive(Default)]
struct Lines {
    counted_to: usize,
    ends: u64,
}

impl Lines {
    /// The line of the first character of the record that starts at `start`.
    fn line_at(&mut self, text: &[u8], start: usize) -> u64 {
        let rest = text.get(start..).unwrap_or_default();
        let start = start
            + rest
                .iter()
                .take_while(|b| matches!(b, b'\r' | b'\n'))
                .count();
        let passed = self.counted_to..start.max(self.counted_to);
        let is_end = |i: &usize| match text[*i] {
            b'\n' => true,
            b'\r' => text.get(i + 1) != Some(&b'\n'),
            _ => false,
        };
        self.ends += passed.clone().filter(is_end).map(|_| 1).sum::<u64>();
        self.counted_to = passed.end;
        self.ends + 1
    }
}

fn columns(header: &[&[u8]]) -> Result<Vec<String>, Unusable> {
    if header.len() > MAX_COLUMNS {
        return Err(Unusable::TooManyColumns);
    }
    let mut columns: Vec<String> = Vec::with_capacity(header.len());
    for (i, field) in header.iter().enumerate() {
        let name = std::str::from_utf8(field)
            .map_err(|_| Unusable::NotText)?
            .trim();
        let known = ["phone", "ref", "timezone", "priority"]
            .into_iter()
            .find(|k| name.eq_ignore_ascii_case(k));
        let name = known.unwrap_or(name).to_owned();
        if !is_var_name(&name) {
            return Err(Unusable::BadName);
        }
        if name.is_empty() {
            // Spreadsheets leave empty columns at the right; anywhere else it is a mistake.
            if header.iter().skip(i).all(|f| f.trim_ascii().is_empty()) {
                break;
            }
            return Err(Unusable::Unnamed(i + 1));
        }
        if columns.contains(&name) {
            return Err(Unusable::TwiceNamed(name));
        }
        columns.push(name);
    }
    if columns.iter().any(|c| c == "phone") {
        Ok(columns)
    } else {
        Err(Unusable::NoPhone(columns.join(", ")))
    }
}

fn row(columns: &[String], record: &[&[u8]], line: u64) -> Result<LeadRow, BadRow> {
    let bad = |code, message| {
        Err(BadRow {
            line,
            code,
            message,
        })
    };
    let extra = record
        .iter()
        .skip(columns.len())
        .filter(|f| !f.trim_ascii().is_empty())
        .count();
    if extra > 0 {
        return bad(
            "too_many_fields",
            format!(
                "the row has {} fields and the header {}; is a comma not quoted?",
                record.len(),
                columns.len()
            ),
        );
    }
    let mut row = LeadRow {
        line: Some(line),
        ..LeadRow::default()
    };
    for (column, field) in columns.iter().zip(record) {
        let Ok(text) = std::str::from_utf8(field) else {
            return bad(
                "not_utf8",
                format!("the column \"{column}\" is not UTF-8 text; save the file as UTF-8"),
            );
        };
        let text = text.trim();
        if text.is_empty() {
            continue;
        }
        match column.as_str() {
            "phone" => row.phone = text.to_owned(),
            "ref" => row.reference = Some(text.to_owned()),
            "timezone" => row.timezone = Some(text.to_owned()),
            "priority" => row.priority = Some(Written::Text(text.to_owned())),
            _ if text.chars().count() > MAX_VAR_LEN => {
                return bad(
                    "value_too_long",
                    format!("the column \"{column}\" has more than {MAX_VAR_LEN} characters"),
                );
            }
            _ => {
                row.vars.insert(column.clone(), text.to_owned());
            }
        }
    }
    if row.phone.is_empty() {
        return bad("no_phone", "the row has no phone number".to_owned());
    }
    Ok(row)
}

fn ndjson_rows(text: Cow<'_, [u8]>) -> Rows<'_> {
    let mut line = 0;
    let mut at = 0;
    Box::new(std::iter::from_fn(move || {
        loop {
            if at >= text.len() {
                return None;
            }
            let end = text[at..]
                .iter()
                .position(|b| *b == b'\n')
                .map_or(text.len(), |n| at + n);
            let raw = text[at..end].trim_ascii();
            let parsed = (!raw.is_empty()).then(|| object(raw, line + 1));
            line += 1;
            at = end + 1;
            if parsed.is_some() {
                return parsed;
            }
        }
    }))
}

fn object(raw: &[u8], line: u64) -> Result<LeadRow, BadRow> {
    let bad = |code, message: String| BadRow {
        line,
        code,
        message,
    };
    if raw.len() > MAX_ROW {
        let message = format!("the line is longer than {} MiB", MAX_ROW / 1024 / 1024);
        return Err(bad("row_too_long", message));
    }
    let members: Members = serde_json::from_slice(raw).map_err(|error| {
        // Such an error repeats values, and they may be people's numbers.
        let message = if error.is_data() {
            "the line is not a JSON object".to_owned()
        } else {
            format!("the line is not JSON: {error}")
        };
        bad("unreadable", message)
    })?;
    let mut row = LeadRow {
        line: Some(line),
        ..LeadRow::default()
    };
    let mut vars = BTreeMap::new();
    let mut twice = members.twice;
    for (name, value) in members.all {
        let text = match value {
            Value::Null => continue,
            Value::String(text) => text.trim().to_owned(),
            Value::Bool(b) => b.to_string(),
            Value::Number(n) => n.to_string(),
            Value::Object(nested) if name == "vars" => {
                for (name, value) in nested {
                    let text = value.as_str().map(str::to_owned);
                    let text = text.unwrap_or_else(|| value.to_string());
                    if vars.insert(name.clone(), text).is_some() {
                        twice = Some(name);
                    }
                }
                continue;
            }
            Value::Array(_) | Value::Object(_) => {
                let name = shown(&name);
                let message = format!("\"{name}\" must be text or a number");
                return Err(bad("bad_value", message));
            }
        };
        match name.as_str() {
            "phone" => row.phone = text,
            "ref" => row.reference = Some(text),
            "timezone" => row.timezone = Some(text),
            "priority" => row.priority = Some(Written::Text(text)),
            _ => {
                if vars.insert(name.clone(), text).is_some() {
                    twice = Some(name);
                }
            }
        }
    }
    if let Some(name) = twice {
        let message = format!("\"{}\" is there twice", shown(&name));
        return Err(bad("named_twice", message));
    }
    if let Some(name) = vars.keys().find(|name| !is_var_name(name)) {
        let message = format!("\"{}\" cannot be the name of a variable", shown(name));
        return Err(bad("bad_name", message));
    }
    if let Some((name, _)) = vars.iter().find(|(_, v)| v.chars().count() > MAX_VAR_LEN) {
        let message = format!("\"{name}\" has more than {MAX_VAR_LEN} characters");
        return Err(bad("value_too_long", message));
    }
    if vars.len() > MAX_VARS {
        return Err(bad(
            "too_many_vars",
            format!("the line has more than {MAX_VARS} variables"),
        ));
    }
    if row.phone.is_empty() {
        return Err(bad("no_phone", "the line has no phone number".to_owned()));
    }
    row.vars = vars;
    Ok(row)
}

/// A name as it is repeated to whoever wrote it.
fn shown(name: &str) -> String {
    name.chars().take(40).collect()
}

/// The members of an object, and one that is there twice: serde's maps would keep the last one and
/// say nothing.
struct Members {
    all: BTreeMap<String, Value>,
    twice: Option<String>,
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reads;

        impl<'de> Visitor<'de> for Reads {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Members {
                    all: BTreeMap::new(),
                    twice: None,
                };
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    if members.all.insert(name.clone(), value).is_some() {
                        members.twice = Some(name);
                    }
                }
                Ok(members)
            }
        }

        deserializer.deserialize_map(Reads)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8], format: Format) -> Vec<Result<LeadRow, BadRow>> {
        open(bytes, format).expect("usable").collect()
    }

    #[test]
    fn a_file_as_spreadsheets_write_it() {
        let file = "\u{feff}Phone,ref,name,note\r\n+442079460119,a1,\"Smith, J\",\"two\nlines\"\r\n\r\n+442079460120,,O'Neil,\r\n";
        let rows = all(file.as_bytes(), Format::Csv);
        assert_eq!(rows.len(), 2);
        let first = rows[0].as_ref().expect("good");
        assert_eq!(
            (first.phone.as_str(), first.line),
            ("+442079460119", Some(2))
        );
        assert_eq!(first.vars["name"], "Smith, J");
        let second = rows[1].as_ref().expect("good");
        assert_eq!(
            second.line,
            Some(5),
            "a quoted line break and an empty line count"
        );
        assert_eq!(second.reference, None);
    }

    #[test]
    fn lines_are_those_of_an_editor_whatever_ends_them() {
        for end in ["\n", "\r\n"] {
            let rows = ["phone,note", "1,a", "2,\"x", "y\"", "", "3,b", ",c", "4,d"].join(end);
            let lines: Vec<u64> = all(rows.as_bytes(), Format::Csv)
                .into_iter()
                .map(|r| r.map_or_else(|bad| bad.line, |row| row.line.expect("from a file")))
                .collect();
            assert_eq!(lines, [2, 3, 6, 7, 8], "{end:?}");
        }
    }

    #[test]
    fn bad_rows_are_named_and_good_ones_kept() {
        let rows = all(
            b"phone,name\n+442079460119,Ren\xe9\n,nobody\n+442079460121,a,b\n+442079460122,ok\n",
            Format::Csv,
        );
        let codes: Vec<_> = rows
            .iter()
            .map(|r| r.as_ref().map(|_| ()).map_err(|b| (b.line, b.code)))
            .collect();
        assert_eq!(
            codes,
            [
                Err((2, "not_utf8")),
                Err((3, "no_phone")),
                Err((4, "too_many_fields")),
                Ok(())
            ]
        );
    }

    #[test]
    fn semicolons_tabs_and_utf16() {
        assert_eq!(all(b"name;phone\nx;+442079460119\n", Format::Csv).len(), 1);
        assert_eq!(
            all(b"name\tphone\nx\t+442079460119\n", Format::Csv).len(),
            1
        );
        let mut utf16 = vec![0xFF, 0xFE];
        utf16.extend(
            "phone\n+442079460119\n"
                .encode_utf16()
                .flat_map(u16::to_le_bytes),
        );
        assert_eq!(
            all(&utf16, Format::Csv)[0].as_ref().expect("good").phone,
            "+442079460119"
        );
    }

    #[test]
    fn unusable_files_are_refused_with_one_sentence() {
        let refused = |bytes: &[u8]| open(bytes, Format::Csv).map(|_| ()).expect_err("unusable");
        assert_eq!(refused(b""), Unusable::Empty);
        assert_eq!(refused(b" \r\n\n"), Unusable::Empty);
        assert_eq!(refused(b"phone\n"), Unusable::NoRows);
        assert_eq!(refused(b"PK\x03\x04rest"), Unusable::NotText);
        assert_eq!(
            refused(b"number,name\n1,2\n"),
            Unusable::NoPhone("number, name".to_owned())
        );
        assert_eq!(
            refused(b"phone,phone\n1,2\n"),
            Unusable::TwiceNamed("phone".to_owned())
        );
        assert_eq!(refused(b"phone,,x\n1,2\n"), Unusable::Unnamed(2));
        assert_eq!(refused(b"ph\xe9,phone\n1,2\n"), Unusable::NotText);
    }

    #[test]
    fn json_lines() {
        let rows = all(b"{\"phone\":\"+442079460119\",\"age\":7,\"vars\":{\"x\":\"y\"}}\n\nnot json\n[1]\n{\"phone\":1,\"a\":[]}\n", Format::Ndjson);
        let first = rows[0].as_ref().expect("good");
        assert_eq!(
            (first.vars["age"].as_str(), first.vars["x"].as_str()),
            ("7", "y")
        );
        let lines: Vec<_> = rows[1..]
            .iter()
            .map(|r| r.as_ref().expect_err("bad").line)
            .collect();
        assert_eq!(lines, [3, 4, 5]);
    }
}
