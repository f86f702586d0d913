//! CSV, record by record, into room of a fixed size.

use std::borrow::Cow;

use csv_core::ReadRecordResult;
use dialfleet_domain::lead::{MAX_VAR_LEN, is_var_name};

use super::{BadRow, MAX_COLUMNS, MAX_ROW, Rows, Unusable};
use crate::message::{LeadRow, Written};

/// Fields of a row that are read, to say how many there are.
const MAX_FIELDS: usize = 1_024;

pub(super) fn rows(text: Cow<'_, [u8]>) -> Result<Rows<'_>, Unusable> {
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

type Fields<'r> = Result<Vec<&'r [u8]>, TooLong>;

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
    fn read(&mut self) -> Option<(u64, Fields<'_>)> {
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
