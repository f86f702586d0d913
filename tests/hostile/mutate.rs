//! What goes wrong with bytes: bits flip, pieces are lost, doubled, swapped, or replaced by others.

use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::Value;

/// Pieces that parsers fall over.
const NASTY: [&[u8]; 40] = [
    b"",
    b"\0",
    b"\"",
    b"\"\"",
    b"'",
    b",",
    b";",
    b"\t",
    b"\r",
    b"\n",
    b"\r\n",
    b"\xEF\xBB\xBF",
    b"\xFF\xFE",
    b"\xFE\xFF",
    b"\xFF",
    b"\xC3",
    b"\xE9",
    b"\xED\xA0\x80",
    b"\xE2\x80\xA8",
    b"\xE2\x80\xAE",
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b"{\"a\":",
    b"[[[[[[[[",
    b"null",
    b"true",
    b"-1",
    b"0.5",
    b"1e999",
    b"99999999999999999999",
    b"9223372036854775808",
    b"\\u0000",
    b"\\ud800",
    b"%",
    b"%00",
    b"&",
    b"=",
];

/// One thing that goes wrong.
#[derive(Debug, Clone)]
pub(crate) enum Edit {
    Flip(Index, u8),
    Set(Index, u8),
    Insert(Index, &'static [u8]),
    Remove(Index, usize),
    Repeat(Index, usize, usize),
    Truncate(Index),
    Swap(Index, Index, usize),
}

pub(crate) fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let at = any::<Index>;
    let edit = prop_oneof![
        3 => (at(), 0..8_u8).prop_map(|(at, bit)| Edit::Flip(at, bit)),
        2 => (at(), any::<u8>()).prop_map(|(at, byte)| Edit::Set(at, byte)),
        4 => (at(), select(&NASTY)).prop_map(|(at, piece)| Edit::Insert(at, piece)),
        2 => (at(), 1..30_usize).prop_map(|(at, many)| Edit::Remove(at, many)),
        1 => (at(), 1..12_usize, 2..200_usize).prop_map(|(at, many, times)| Edit::Repeat(at, many, times)),
        1 => at().prop_map(Edit::Truncate),
        1 => (at(), at(), 1..20_usize).prop_map(|(a, b, many)| Edit::Swap(a, b, many)),
    ];
    prop::collection::vec(edit, 1..5)
}

pub(crate) fn mutated(bytes: &[u8], edits: &[Edit]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for edit in edits {
        if bytes.is_empty() {
            break;
        }
        let len = bytes.len();
        let piece = |at: &Index, many: usize| at.index(len)..(at.index(len) + many).min(len);
        match edit {
            Edit::Flip(at, bit) => bytes[at.index(len)] ^= 1 << bit,
            Edit::Set(at, byte) => bytes[at.index(len)] = *byte,
            Edit::Insert(at, piece) => {
                let at = at.index(len);
                bytes.splice(at..at, piece.iter().copied());
            }
            Edit::Remove(at, many) => drop(bytes.drain(piece(at, *many))),
            Edit::Repeat(at, many, times) => {
                let piece = piece(at, *many);
                let more = bytes[piece.clone()].repeat(*times);
                bytes.splice(piece, more);
            }
            Edit::Truncate(at) => bytes.truncate(at.index(len)),
            Edit::Swap(a, b, many) => {
                for i in 0..*many {
                    bytes.swap((a.index(len) + i) % len, (b.index(len) + i) % len);
                }
            }
        }
    }
    bytes
}

/// What goes wrong with a document: something in it is another thing, missing, too much, or there
/// many times.
#[derive(Debug, Clone)]
pub(crate) enum Spoil {
    Replace(Index, Value),
    Remove(Index),
    Add(Index, &'static str, Value),
    Repeat(Index, usize),
    Wrap(Index, usize),
}

pub(crate) fn spoils() -> impl Strategy<Value = Vec<Spoil>> {
    let at = any::<Index>;
    let name = select(&[
        "",
        "x",
        "$set",
        "a.b",
        "\0",
        "_id",
        "phone",
        "gen",
        "state",
        "__proto__",
    ]);
    let spoil = prop_oneof![
        5 => (at(), json()).prop_map(|(at, value)| Spoil::Replace(at, value)),
        2 => at().prop_map(Spoil::Remove),
        2 => (at(), name, json()).prop_map(|(at, name, value)| Spoil::Add(at, name, value)),
        1 => (at(), select(&[2, 20, 501])).prop_map(|(at, times)| Spoil::Repeat(at, times)),
        1 => (at(), select(&[1, 100, 200])).prop_map(|(at, depth)| Spoil::Wrap(at, depth)),
    ];
    prop::collection::vec(spoil, 1..4)
}

/// JSON as odd as it comes.
pub(crate) fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (-3..1_001_i64).prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        select(&[
            "",
            "+442079460119",
            "\0",
            "a\0b",
            "2026-02-30",
            "Europe/London",
            "24:00",
            "GB",
            "mon",
            "🦀"
        ])
        .prop_map(Value::from),
        (0..3_000_usize).prop_map(|n| Value::from("x".repeat(n))),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let names = ["phone", "vars", "$set", "a.b", "\0", "_id", "do"];
        let name = prop_oneof!["[a-z]{0,6}", select(names.to_vec()).prop_map(str::to_owned)];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((name, inner), 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// The document as text, spoiled. As text, because only there can it be deeper than serde builds.
pub(crate) fn spoiled(mut value: Value, spoils: &[Spoil]) -> Vec<u8> {
    const MARK: &str = "5d7a-here";
    let mut deep = None;
    for spoil in spoils {
        let (Spoil::Replace(at, _)
        | Spoil::Remove(at)
        | Spoil::Add(at, ..)
        | Spoil::Repeat(at, _)
        | Spoil::Wrap(at, _)) = spoil;
        let mut places = Vec::new();
        collect(&value, String::new(), &mut places);
        let place = at.get(&places).clone();
        let Some(found) = value.pointer_mut(&place) else {
            continue;
        };
        match spoil {
            Spoil::Replace(_, other) => *found = other.clone(),
            Spoil::Remove(_) => {
                let Some((parent, name)) = place.rsplit_once('/') else {
                    continue;
                };
                let name = name.replace("~1", "/").replace("~0", "~");
                match value.pointer_mut(parent) {
                    Some(Value::Object(members)) => drop(members.remove(&name)),
                    Some(Value::Array(items)) => drop(items.pop()),
                    _ => {}
                }
            }
            Spoil::Add(_, name, other) => {
                if let Value::Object(members) = found {
                    members.insert((*name).to_owned(), other.clone());
                }
            }
            Spoil::Repeat(_, times) => match found {
                Value::Array(items) => *items = vec![std::mem::take(items); *times].concat(),
                other => *other = Value::Array(vec![other.clone(); *times]),
            },
            Spoil::Wrap(_, depth) => {
                deep = Some((found.to_string(), *depth));
                *found = Value::from(MARK);
            }
        }
    }
    let text = value.to_string();
    let text = match deep {
        Some((inner, depth)) => {
            let wrapped = format!("{}{inner}{}", "[".repeat(depth), "]".repeat(depth));
            text.replacen(&format!("\"{MARK}\""), &wrapped, 1)
        }
        None => text,
    };
    text.into_bytes()
}

fn collect(value: &Value, place: String, places: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, inner) in members {
                let name = name.replace('~', "~0").replace('/', "~1");
                collect(inner, format!("{place}/{name}"), places);
            }
        }
        Value::Array(items) => {
            for (i, inner) in items.iter().enumerate() {
                collect(inner, format!("{place}/{i}"), places);
            }
        }
        _ => {}
    }
    places.push(place);
}
