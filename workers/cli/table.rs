//! JSON from the API as a table for people.

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value;

use super::{Output, print};

/// A column: its title, and the path of its value (`counts.leads`).
pub(crate) type Column = (&'static str, &'static str);

/// Prints a list.
pub(crate) fn list(output: Output, value: &Value, columns: &[Column]) {
    match output {
        Output::Json => json(value),
        Output::Table => {
            let mut table = table();
            table.set_header(columns.iter().map(|(title, _)| *title));
            for row in value["data"].as_array().into_iter().flatten() {
                table.add_row(columns.iter().map(|(_, path)| text(row, path)));
            }
            print(&table.to_string());
        }
    }
}

/// Prints one thing, a line for each of its fields.
pub(crate) fn one(output: Output, value: &Value, columns: &[Column]) {
    match output {
        Output::Json => json(value),
        Output::Table => {
            let mut table = table();
            for (title, path) in columns {
                table.add_row([(*title).to_owned(), text(value, path)]);
            }
            print(&table.to_string());
        }
    }
}

/// An empty table in our style.
pub(crate) fn table() -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_BORDERS_ONLY)
        .set_content_arrangement(ContentArrangement::Dynamic);
    table
}

pub(crate) fn json(value: &Value) {
    print(&serde_json::to_string_pretty(value).unwrap_or_default());
}

fn text(value: &Value, path: &str) -> String {
    plain(path.split('.').fold(value, |v, key| &v[key]))
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Object(map) if map.contains_key("amount") && map.contains_key("currency") => {
            let by = value["by"].as_str().map(|by| format!(" ({by})"));
            let (amount, currency) = (plain(&value["amount"]), plain(&value["currency"]));
            format!("{amount} {currency}{}", by.unwrap_or_default())
        }
        Value::Array(items) if items.is_empty() || items.iter().any(Value::is_object) => {
            items.iter().map(plain).collect::<Vec<_>>().join(", ")
        }
        Value::Object(map) => map
            .iter()
            .map(|(k, v)| match v {
                Value::Object(_) => format!("{k} ({})", plain(v)),
                _ => format!("{k} {}", plain(v)),
            })
            .collect::<Vec<_>>()
            .join(", "),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_plain_text() {
        let value = json!({
            "id": "cmp_1", "schedule": null, "counts": { "outcomes": { "busy": 2, "answered": 1 } },
            "routing": { "strategy": "cost", "weights": { "cost": 1, "quality": 2 } }, "carriers": ["a"],
        });
        for (path, want) in [
            ("id", "cmp_1"),
            ("schedule", ""),
            ("nothing.at.all", ""),
            ("counts.outcomes", "answered 1, busy 2"),
            ("routing", "strategy cost, weights (cost 1, quality 2)"),
            ("carriers", "[\"a\"]"),
        ] {
            assert_eq!(text(&value, path), want, "{path}");
        }
    }
}
