//! Rate decks as CSV: header, quotes, line numbers. Decks are small tables; of CSV they use commas and
//! quotes, and a quoted field that goes on in the next line is a mistake here.

use super::{Fault, Row};

const PREFIX: usize = 0;
const PRICE: usize = 1;
const CURRENCY: usize = 2;
const INCREMENT: usize = 3;
const MINIMUM: usize = 4;
const PER_CALL: usize = 5;
/// In the order of the constants above; the first three are required.
const COLUMNS: [&str; 6] = [
    "prefix",
    "price_per_min",
    "currency",
    "increment",
    "minimum",
    "per_call",
];
/// Columns for people.
const REMARKS: [&str; 3] = ["destination", "country", "comment"];

/// Every row that could be taken apart, and every line that could not.
pub(super) fn rows(text: &str) -> (Vec<(u64, Row)>, Vec<Fault>) {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines = (1..)
        .zip(text.lines())
        .filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
    let mut faults = Vec::new();
    let mut rows = Vec::new();
    let fault = |line, why: &str| Fault {
        line,
        why: why.to_owned(),
    };
    let Some((line, header)) = lines.next() else {
        return (rows, vec![fault(1, "the deck is empty")]);
    };
    let places = match split(header).and_then(|names| header_of(&names)) {
        Ok(places) => places,
        Err(why) => return (rows, vec![fault(line, &why)]),
    };
    for (line, text) in lines {
        let row = split(text).and_then(|fields| row_of(&fields, &places));
        match row {
            Ok(row) => rows.push((line, row)),
            Err(why) => faults.push(fault(line, &why)),
        }
    }
    (rows, faults)
}

/// Where each of our columns is.
struct Places {
    of: [Option<usize>; COLUMNS.len()],
    width: usize,
}

fn header_of(names: &[String]) -> Result<Places, String> {
    let mut of = [None; COLUMNS.len()];
    for (at, name) in names.iter().enumerate() {
        let name = name.to_ascii_lowercase();
        if let Some(column) = COLUMNS.iter().position(|known| *known == name) {
            if of[column].replace(at).is_some() {
                return Err(format!("the column {name} is there twice"));
            }
        } else if !REMARKS.contains(&name.as_str()) {
            return Err(format!(
                "the column \"{name}\" is not known; known are {} and {}",
                COLUMNS.join(", "),
                REMARKS.join(", ")
            ));
        }
    }
    if let Some(missing) = (PREFIX..=CURRENCY).find(|column| of[*column].is_none()) {
        return Err(format!(
            "the first line must name the columns, and {} is not among them",
            COLUMNS[missing]
        ));
    }
    let width = names.len();
    Ok(Places { of, width })
}

fn row_of(fields: &[String], places: &Places) -> Result<Row, String> {
    if fields.len() != places.width {
        return Err(format!(
            "it has {} fields and the header {}",
            fields.len(),
            places.width
        ));
    }
    let field = |column: usize| {
        places.of[column]
            .map(|at| fields[at].as_str())
            .filter(|text| !text.is_empty())
    };
    let seconds = |column: usize, text: &str| {
        let read: Result<u32, _> = text.parse();
        read.map_err(|_| format!("{} must be whole seconds", COLUMNS[column]))
    };
    let need = |column: usize| {
        let text = field(column).ok_or_else(|| format!("{} is empty", COLUMNS[column]));
        text.map(str::to_owned)
    };
    let minimum = field(MINIMUM).map(|text| seconds(MINIMUM, text));
    let (minimum, increment) = match field(INCREMENT).map(|text| (text, text.split_once('/'))) {
        Some((_, Some(_))) if minimum.is_some() => {
            return Err("minimum/increment and a minimum: one of them is too much".to_owned());
        }
        Some((_, Some((first, then)))) => (
            Some(seconds(INCREMENT, first)?),
            Some(seconds(INCREMENT, then)?),
        ),
        Some((text, None)) => (minimum.transpose()?, Some(seconds(INCREMENT, text)?)),
        None => (minimum.transpose()?, None),
    };
    Ok(Row {
        prefix: need(PREFIX)?,
        price_per_min: need(PRICE)?,
        currency: need(CURRENCY)?,
        increment,
        minimum,
        per_call: field(PER_CALL).map(str::to_owned),
    })
}

/// The fields of a line, blanks around them dropped.
fn split(line: &str) -> Result<Vec<String>, String> {
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        let trimmed = rest.trim_start();
        let (field, after) = match trimmed.strip_prefix('"') {
            Some(quoted) => unquote(quoted)?,
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                (rest[..end].trim().to_owned(), &rest[end..])
            }
        };
        fields.push(field);
        match after.trim_start().strip_prefix(',') {
            Some(next) => rest = next,
            None if after.trim().is_empty() => return Ok(fields),
            None => return Err("there is text behind a closing quote".to_owned()),
        }
    }
}

/// The field that `text` begins with, up to its closing quote, and what follows it.
fn unquote(text: &str) -> Result<(String, &str), String> {
    let mut field = String::new();
    let mut rest = text;
    loop {
        let Some((part, after)) = rest.split_once('"') else {
            return Err("a quote is not closed".to_owned());
        };
        field.push_str(part);
        match after.strip_prefix('"') {
            Some(more) => {
                field.push('"');
                rest = more;
            }
            None => return Ok((field.trim().to_owned(), after)),
        }
    }
}
