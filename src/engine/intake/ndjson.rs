//! NDJSON: one JSON object a line.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use dialfleet_domain::lead::{MAX_VAR_LEN, MAX_VARS, is_var_name};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use super::{BadRow, MAX_ROW, Rows};
use crate::message::{LeadRow, Written};

pub(super) fn rows(text: Cow<'_, [u8]>) -> Rows<'_> {
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
