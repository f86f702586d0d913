//! Lead files at the door: CSV and NDJSON, read row by row, every bad row named with its line.
//!
//! A file is refused whole only when no row of it can be trusted: it is empty, not text, or its
//! header names no phone column. Everything else is a matter of single rows.
//!
//! What is held besides the file's text is one row, at most [`MAX_ROW`] long, whatever is in it.

mod csv;
mod ndjson;

use std::borrow::Cow;

use dialfleet_domain::lead::{MAX_VAR_NAME, MAX_VARS};
use thiserror::Error;

use crate::message::LeadRow;

/// Bytes a file may have.
pub const MAX_FILE: usize = 64 * 1024 * 1024;
/// Bytes a row may have: more than any good one, also with all its letters written as escapes.
pub const MAX_ROW: usize = 2 * 1024 * 1024;
/// Columns a file may have.
const MAX_COLUMNS: usize = MAX_VARS + 4;

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
        Format::Csv => csv::rows(text),
        Format::Ndjson => Ok(ndjson::rows(text)),
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
