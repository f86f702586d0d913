//! Templates over a lead's variables, and SSML.
//!
//! A template may name variables, compare and filter them, and choose with `if`. It has no loops,
//! no arithmetic that could blow a text up, and no way to hide that a variable is missing: what a
//! lead may lack has a value in the flow's `defaults`. So what is missing is known before the call.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior, Value};
use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};

/// Work that one template may take.
const FUEL: u64 = 5_000;
/// Elements of SSML that every carrier speaks.
const ELEMENTS: [&str; 10] = [
    "break", "emphasis", "lang", "p", "phoneme", "prosody", "s", "say-as", "sub", "w",
];
/// The filters there are.
pub const FILTERS: [&str; 6] = ["lower", "upper", "title", "trim", "spell", "last4"];

/// Whether a text has anything to fill in.
#[must_use]
pub fn is_template(text: &str) -> bool {
    text.contains("{{") || text.contains("{%") || text.contains("{#")
}

fn environment(ssml: bool) -> Environment<'static> {
    let mut env = Environment::empty();
    env.set_undefined_behavior(UndefinedBehavior::Strict);
    env.set_fuel(Some(FUEL));
    env.set_auto_escape_callback(move |_| {
        if ssml {
            AutoEscape::Html
        } else {
            AutoEscape::None
        }
    });
    env.add_filter("lower", |text: &str| text.to_lowercase());
    env.add_filter("upper", |text: &str| text.to_uppercase());
    env.add_filter("trim", |text: &str| text.trim().to_owned());
    env.add_filter("title", |text: &str| title(text));
    // One by one: "A 4 2" instead of "a forty-two".
    env.add_filter("spell", |text: &str| {
        let mut spelled = String::with_capacity(text.len() * 2);
        for c in text.chars().filter(|c| !c.is_whitespace()) {
            let _ = write!(spelled, "{c} ");
        }
        spelled.trim_end().to_owned()
    });
    env.add_filter("last4", |text: &str| {
        let chars: Vec<char> = text.chars().collect();
        chars[chars.len().saturating_sub(4)..]
            .iter()
            .collect::<String>()
    });
    env
}

fn title(text: &str) -> String {
    let mut begins = true;
    text.chars()
        .flat_map(|c| {
            let written: Vec<char> = if begins {
                c.to_uppercase().collect()
            } else {
                c.to_lowercase().collect()
            };
            begins = !c.is_alphanumeric() && c != '\'';
            written
        })
        .collect()
}

/// The variables a template names.
///
/// # Errors
/// It cannot be read, or does what a template may not do: a sentence.
pub fn names(text: &str) -> Result<BTreeSet<String>, String> {
    if !is_template(text) {
        return Ok(BTreeSet::new());
    }
    let env = environment(false);
    let template = env.template_from_str(text).map_err(|e| sentence(&e))?;
    only_what_is_allowed(text)?;
    Ok(template.undeclared_variables(false).into_iter().collect())
}

/// Looks through the tags, without the texts in quotes.
fn only_what_is_allowed(text: &str) -> Result<(), String> {
    let mut rest = text;
    while let Some(at) = rest.find('{') {
        let (kind, inner) = match rest.get(at..at + 2) {
            Some("{{") => ("}}", &rest[at + 2..]),
            Some("{%") => ("%}", &rest[at + 2..]),
            Some("{#") => ("#}", &rest[at + 2..]),
            _ => {
                rest = &rest[at + 1..];
                continue;
            }
        };
        let mut bare = String::new();
        let mut quote: Option<char> = None;
        let mut end = inner.len();
        for (i, c) in inner.char_indices() {
            match quote {
                Some(q) if c == q => quote = None,
                Some(_) => {}
                None if kind != "#}" && matches!(c, '"' | '\'') => {
                    quote = Some(c);
                    bare.push('"');
                }
                None if inner[i..].starts_with(kind) => {
                    end = i + kind.len();
                    break;
                }
                None => bare.push(c),
            }
        }
        rest = &inner[end..];
        if kind == "#}" {
            continue;
        }
        if bare.contains(['*', '[', '(', '{']) {
            return Err(
                "a template names variables, compares and filters them; it does not calculate"
                    .to_owned(),
            );
        }
        // Also where it is not reached when it is tried.
        for filter in bare.split('|').skip(1) {
            let name = filter.trim_start();
            let end = name.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            let name = &name[..end.unwrap_or(name.len())];
            if !FILTERS.contains(&name) {
                return Err(format!("there are only the filters {}", FILTERS.join(", ")));
            }
        }
        if bare.split_whitespace().any(|word| word == "is") {
            return Err("a template has no tests: compare with ==".to_owned());
        }
        let word = bare.trim_matches(|c: char| c == '-' || c == '+' || c.is_whitespace());
        let word = word.split_whitespace().next().unwrap_or_default();
        if kind == "%}" && !matches!(word, "if" | "elif" | "else" | "endif") {
            return Err(format!(
                "\"{}\" is not a statement here; there are if, elif, else and endif",
                word.escape_debug()
            ));
        }
    }
    Ok(())
}

/// Fills a template in.
///
/// # Errors
/// A variable is missing, or the work is too much: a sentence without values.
pub fn render(text: &str, ssml: bool, values: &BTreeMap<String, String>) -> Result<String, String> {
    if !is_template(text) {
        return Ok(text.to_owned());
    }
    let env = environment(ssml);
    let template = env.template_from_str(text).map_err(|e| sentence(&e))?;
    let values = values.iter().map(|(k, v)| (k.as_str(), v.as_str()));
    template
        .render(Value::from_pairs(values))
        .map_err(|e| sentence(&e))
}

fn sentence(error: &Error) -> String {
    let kind = error.kind();
    if kind == ErrorKind::UndefinedError {
        return "a variable is missing".to_owned();
    }
    if kind == ErrorKind::OutOfFuel {
        return "the template is too much work".to_owned();
    }
    match error.detail() {
        Some(detail) => format!("the template cannot be read: {detail}"),
        None => format!("the template cannot be read: {kind}"),
    }
}

/// The name under which a lead's column is known in templates: `First Name` is `first_name`.
#[must_use]
pub fn name_of(column: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if is_name(column) {
        return column.to_owned();
    }
    let mut name: String = column
        .trim()
        .chars()
        .map(|c| {
            if plain(c) {
                c.to_ascii_lowercase()
            } else {
                '_'
            }
        })
        .collect();
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        name.insert(0, '_');
    }
    name
}

/// Whether a variable can be named so in a flow.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let first = |c: char| c.is_ascii_alphabetic() || c == '_';
    (1..=64).contains(&name.len())
        && name.starts_with(first)
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Whether a text is SSML that can be spoken: well-formed, of known elements, not too deep.
///
/// # Errors
/// A sentence.
pub fn check_ssml(text: &str) -> Result<(), String> {
    let wrapped = format!("<speak>{text}</speak>");
    let mut reader = Reader::from_str(&wrapped);
    let mut depth = 0_usize;
    loop {
        let event = reader
            .read_event()
            .map_err(|_| "it is not well-formed".to_owned())?;
        match event {
            Event::Eof => break,
            Event::Start(element) => {
                if depth > 0 {
                    check_element(&element)?;
                }
                depth += 1;
            }
            Event::Empty(element) => check_element(&element)?,
            Event::End(_) => {
                depth = depth.saturating_sub(1);
                if depth == 0 && position(&reader) < wrapped.len() {
                    return Err("it is not well-formed".to_owned());
                }
            }
            Event::Text(text) => {
                let text = text.into_inner();
                if text.contains(&b'<') {
                    return Err("it is not well-formed".to_owned());
                }
            }
            Event::GeneralRef(entity) => {
                let known = entity.is_char_ref()
                    || matches!(&*entity, b"amp" | b"lt" | b"gt" | b"quot" | b"apos");
                if !known {
                    return Err("it is not well-formed".to_owned());
                }
            }
            Event::CData(_)
            | Event::Comment(_)
            | Event::Decl(_)
            | Event::PI(_)
            | Event::DocType(_) => return Err("only elements and text can be used".to_owned()),
        }
        if depth > 10 {
            return Err("its elements are nested too deep".to_owned());
        }
    }
    if depth == 0 {
        Ok(())
    } else {
        Err("it is not well-formed".to_owned())
    }
}

fn check_element(element: &BytesStart<'_>) -> Result<(), String> {
    let name = element.name();
    let name = String::from_utf8_lossy(name.as_ref()).into_owned();
    if !ELEMENTS.contains(&name.as_str()) {
        let there = ELEMENTS.join(", ");
        return Err(format!(
            "<{}> cannot be used; there are {there}",
            name.escape_debug()
        ));
    }
    for attribute in element.attributes() {
        let attribute = attribute.map_err(|_| "it is not well-formed".to_owned())?;
        attribute
            .normalized_value(XmlVersion::Implicit1_0)
            .map_err(|_| "it is not well-formed".to_owned())?;
    }
    Ok(())
}

fn position(reader: &Reader<&[u8]>) -> usize {
    usize::try_from(reader.buffer_position()).unwrap_or(usize::MAX)
}
