//! TwiML, strictly: a verb, an attribute or a value that Twilio does not document is a fault of the
//! document. Only the verbs a dialer needs are here.

use std::collections::BTreeMap;
use std::time::Duration;

use super::attributes::Attributes;
use super::nouns::{connect, dial, gather, record, recording};
use crate::takes::Plan;
use crate::xml::{Element, Node};

/// Longest spoken text.
const MAX_SAID: usize = 4_096;
/// SSML elements that a text may contain.
const SSML: [&str; 12] = [
    "break", "emphasis", "lang", "p", "phoneme", "prosody", "s", "say-as", "sub", "w", "speak",
    "mark",
];

/// Why a document, or the request for one, failed; codes as in Twilio's list of errors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) code: u32,
    pub(super) why: String,
}

impl Fault {
    pub(super) fn new(code: u32, why: impl Into<String>) -> Self {
        let why = why.into();
        Self { code, why }
    }
}

pub(super) fn invalid(why: impl std::fmt::Display) -> Fault {
    Fault::new(12200, format!("Schema validation: {why}"))
}

/// Where to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) url: String,
    pub(super) post: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verb {
    Say {
        text: String,
        times: u32,
    },
    Play {
        url: String,
        times: u32,
    },
    /// Keys, for the other side.
    PlayDigits(String),
    Pause(Duration),
    Gather(Gather),
    Redirect(Target),
    Dial(Dial),
    Stream(Stream),
    Record(Record),
    /// Begins a recording beside the document, or ends it.
    Recording {
        on: bool,
        plan: Box<Plan>,
    },
    Enqueue {
        name: String,
        action: Option<Target>,
    },
    Hangup,
    Reject,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Gather {
    pub(super) digits: Option<usize>,
    pub(super) timeout: Duration,
    pub(super) finish_on: String,
    pub(super) action: Option<Target>,
    pub(super) on_empty: bool,
    pub(super) keys: bool,
    pub(super) prompt: Vec<Verb>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Dial {
    pub(super) to: String,
    pub(super) timeout: Duration,
    pub(super) time_limit: Duration,
    pub(super) action: Option<Target>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stream {
    pub(super) url: String,
    pub(super) params: BTreeMap<String, String>,
    pub(super) action: Option<Target>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) timeout: Duration,
    pub(super) longest: Duration,
    pub(super) beep: bool,
    pub(super) action: Option<Target>,
    pub(super) callback: Option<String>,
    pub(super) events: Vec<String>,
}

/// The verbs of a document.
pub(super) fn parse(text: &str) -> Result<Vec<Verb>, Fault> {
    let broken = |why| Fault::new(12100, format!("Document parse failure: {why}"));
    let root = Element::parse(text).map_err(broken)?;
    if root.name != "Response" {
        return Err(Fault::new(
            12100,
            format!("The root is {}, not Response", root.name),
        ));
    }
    Attributes::new(&root).done()?;
    elements(&root)?.into_iter().map(verb).collect()
}

/// The children of an element that may have no text of its own.
pub(super) fn elements(of: &Element) -> Result<Vec<&Element>, Fault> {
    let solid = of.children.iter().filter(|node| !node.is_blank());
    let each = solid.map(|node| match node {
        Node::Element(element) => Ok(element),
        Node::Text(_) => Err(invalid(format!("{} contains text", of.name))),
    });
    each.collect()
}

pub(super) fn empty(of: &Element) -> Result<(), Fault> {
    match elements(of)?.first() {
        None => Ok(()),
        Some(child) => Err(invalid(format!("{} may not be in {}", child.name, of.name))),
    }
}

/// The text of an element that may have nothing else.
pub(super) fn only_text(of: &Element) -> Result<String, Fault> {
    match of.children.as_slice() {
        [] => Ok(String::new()),
        [Node::Text(text)] => Ok(text.trim().to_owned()),
        _ => Err(invalid(format!("{} contains elements", of.name))),
    }
}

fn verb(of: &Element) -> Result<Verb, Fault> {
    let mut a = Attributes::new(of);
    let verb = match of.name.as_str() {
        "Say" | "Play" | "Pause" => return sound(of),
        "Gather" => Verb::Gather(gather(of, &mut a)?),
        "Redirect" => {
            let post = a.one_of("method", &["POST", "GET"])? != Some("GET");
            let url = only_text(of)?;
            if url.is_empty() {
                return Err(invalid("Redirect has no address"));
            }
            Verb::Redirect(Target { url, post })
        }
        "Dial" => Verb::Dial(dial(of, &mut a)?),
        "Connect" => {
            let action = a.target()?;
            let children = elements(of)?;
            let [stream] = children.as_slice() else {
                return Err(invalid("Connect has one Stream"));
            };
            Verb::Stream(connect(stream, action)?)
        }
        "Start" | "Stop" => {
            let on = of.name == "Start";
            let plan = Box::new(recording(of)?);
            Verb::Recording { on, plan }
        }
        "Enqueue" => {
            let action = a.target()?;
            let name = only_text(of)?;
            if name.is_empty() || name.chars().count() > 64 {
                return Err(invalid("Enqueue has a name of at most 64 characters"));
            }
            Verb::Enqueue { name, action }
        }
        "Record" => {
            empty(of)?;
            Verb::Record(record(&mut a)?)
        }
        "Hangup" => {
            empty(of)?;
            Verb::Hangup
        }
        "Reject" => {
            a.one_of("reason", &["rejected", "busy"])?;
            empty(of)?;
            Verb::Reject
        }
        other => return Err(invalid(format!("there is no verb {other}"))),
    };
    a.done()?;
    Ok(verb)
}

/// What can be heard, also within a `Gather`.
pub(super) fn sound(of: &Element) -> Result<Verb, Fault> {
    let mut a = Attributes::new(of);
    let verb = match of.name.as_str() {
        "Say" => {
            let times = a.number("loop", 1, (0, 1_000))?;
            for name in ["voice", "language"] {
                if let Some("") = a.take(name) {
                    return Err(a.bad(name, ""));
                }
            }
            let mut text = String::new();
            words(of, &mut text)?;
            let text = text.trim().to_owned();
            if text.is_empty() || text.chars().count() > MAX_SAID {
                return Err(Fault::new(13520, "Say: Invalid text"));
            }
            Verb::Say { text, times }
        }
        "Play" => {
            let times = a.number("loop", 1, (0, 1_000))?;
            let url = only_text(of)?;
            match a.take("digits") {
                Some(digits) if url.is_empty() && !digits.is_empty() => {
                    if !digits
                        .chars()
                        .all(|c| c.is_ascii_digit() || "#*wW,ABCD".contains(c))
                    {
                        return Err(a.bad("digits", digits));
                    }
                    Verb::PlayDigits(digits.to_owned())
                }
                None if crate::whose::is_http(&url) => Verb::Play { url, times },
                _ => {
                    return Err(Fault::new(
                        13420,
                        "Play: Invalid Content: an address is needed",
                    ));
                }
            }
        }
        "Pause" => {
            empty(of)?;
            Verb::Pause(a.seconds("length", 1, (0, 3_600))?)
        }
        other => return Err(invalid(format!("{other} may not be here"))),
    };
    a.done()?;
    Ok(verb)
}

/// The words within SSML.
fn words(of: &Element, out: &mut String) -> Result<(), Fault> {
    for node in &of.children {
        match node {
            Node::Text(text) => out.push_str(text),
            Node::Element(element) if SSML.contains(&element.name.as_str()) => {
                words(element, out)?;
            }
            Node::Element(element) => {
                return Err(invalid(format!("{} may not be in Say", element.name)));
            }
        }
    }
    Ok(())
}
