//! Whether requests are what a vendor publishes: compares what a server saw with what the vendor's OpenAPI
//! description says of it, written down in `tests/openapi.json` beside the tests.

use std::collections::BTreeSet;

use form_urlencoded::parse;
use serde_json::{Map, Value};

/// Fails with everything that is wrong with a request, and when an operation of the description was
/// not asked for at all.
pub(crate) fn check(description: &str, requests: &[String]) {
    let description: Map<String, Value> = serde_json::from_str(description).unwrap();
    let mut unused: BTreeSet<&String> =
        description.keys().filter(|k| !k.starts_with('$')).collect();
    let mut faults = Vec::new();
    for request in requests {
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        let line = head.lines().next().unwrap();
        let [method, address, _] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        let (path, query) = address.split_once('?').unwrap_or((address, ""));
        let is_it = |operation: &&String| fits(operation, &format!("{method} {path}"));
        let Some(operation) = description.keys().find(is_it) else {
            faults.push(format!("{method} {path} is not in the description"));
            continue;
        };
        unused.remove(operation);
        let mut schema = description[operation].clone();
        if let Some(defs) = description.get("$defs") {
            schema["$defs"] = defs.clone();
        }
        let sent = match (method, body.starts_with('{')) {
            ("GET", _) => form(query, &schema),
            (_, true) => serde_json::from_str(body).unwrap(),
            (_, false) => form(body, &schema),
        };
        let options = jsonschema::options().should_validate_formats(true);
        let validator = options.build(&schema).unwrap();
        let wrong = validator.iter_errors(&sent);
        faults.extend(wrong.map(|why| format!("{operation}: {why}")));
    }
    assert!(faults.is_empty(), "{faults:#?}");
    assert!(unused.is_empty(), "never sent: {unused:?}");
}

/// Whether a request is of an operation; `{…}` stands for one part of the path, or its beginning.
fn fits(operation: &str, request: &str) -> bool {
    let (theirs, ours): (Vec<_>, Vec<_>) =
        (operation.split('/').collect(), request.split('/').collect());
    let same = |(theirs, ours): (&&str, &&str)| match theirs.split_once('}') {
        Some((_, end)) => ours.len() > end.len() && ours.ends_with(end),
        None => theirs == ours,
    };
    theirs.len() == ours.len() && theirs.iter().zip(&ours).all(same)
}

/// A form's fields, each of the type that the schema gives it: on the wire all of them are text.
fn form(text: &str, schema: &Value) -> Value {
    let mut fields = Map::new();
    for (name, value) in parse(text.as_bytes()) {
        let field = &schema["properties"][name.as_ref()];
        let read = match field["type"].as_str() {
            Some("integer" | "boolean") => serde_json::from_str(&value).ok(),
            Some("array") => {
                let mut all = fields
                    .get(name.as_ref())
                    .cloned()
                    .unwrap_or_else(|| Value::Array(vec![]));
                let more = value.split(' ').map(Value::from);
                all.as_array_mut().unwrap().extend(more);
                Some(all)
            }
            _ => None,
        };
        let given = read.unwrap_or_else(|| Value::from(value.into_owned()));
        fields.insert(name.into_owned(), given);
    }
    Value::Object(fields)
}
