//! TwiML, strictly: a verb, an attribute or a value that Twilio does not document is a fault of the
//! document. Only the verbs a dialer needs are here.

use std::collections::BTreeMap;
use std::time::Duration;

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

fn invalid(why: impl std::fmt::Display) -> Fault {
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

/// The attributes of an element, taken one by one: what is left over is unknown.
struct Attributes<'a> {
    of: &'a Element,
    left: Vec<&'a (String, String)>,
}

impl<'a> Attributes<'a> {
    fn new(of: &'a Element) -> Self {
        let left = of.attributes.iter().collect();
        Self { of, left }
    }

    fn take(&mut self, name: &str) -> Option<&'a str> {
        let place = self.left.iter().position(|(key, _)| key == name)?;
        Some(self.left.remove(place).1.as_str())
    }

    fn bad(&self, name: &str, value: &str) -> Fault {
        invalid(format!("{} {name}=\"{value}\" is not valid", self.of.name))
    }

    fn number(&mut self, name: &str, default: u32, (low, high): (u32, u32)) -> Result<u32, Fault> {
        let Some(text) = self.take(name) else {
            return Ok(default);
        };
        let number = text.parse().ok().filter(|n| (low..=high).contains(n));
        number.ok_or_else(|| self.bad(name, text))
    }

    fn seconds(&mut self, name: &str, default: u32, range: (u32, u32)) -> Result<Duration, Fault> {
        let number = self.number(name, default, range)?;
        Ok(Duration::from_secs(number.into()))
    }

    fn one_of(&mut self, name: &str, words: &[&str]) -> Result<Option<&'a str>, Fault> {
        match self.take(name) {
            Some(text) if !words.contains(&text) => Err(self.bad(name, text)),
            other => Ok(other),
        }
    }

    fn yes(&mut self, name: &str, default: bool) -> Result<bool, Fault> {
        let word = self.one_of(name, &["true", "false"])?;
        Ok(word.map_or(default, |word| word == "true"))
    }

    fn target(&mut self) -> Result<Option<Target>, Fault> {
        let post = self.one_of("method", &["POST", "GET"])? != Some("GET");
        let url = self.take("action").map(str::to_owned);
        Ok(url.map(|url| Target { url, post }))
    }

    fn done(self) -> Result<(), Fault> {
        match self.left.first() {
            None => Ok(()),
            Some((key, _)) => Err(invalid(format!("{} has no attribute {key}", self.of.name))),
        }
    }
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
fn elements(of: &Element) -> Result<Vec<&Element>, Fault> {
    let solid = of.children.iter().filter(|node| !node.is_blank());
    let each = solid.map(|node| match node {
        Node::Element(element) => Ok(element),
        Node::Text(_) => Err(invalid(format!("{} contains text", of.name))),
    });
    each.collect()
}

fn empty(of: &Element) -> Result<(), Fault> {
    match elements(of)?.first() {
        None => Ok(()),
        Some(child) => Err(invalid(format!("{} may not be in {}", child.name, of.name))),
    }
}

/// The text of an element that may have nothing else.
fn only_text(of: &Element) -> Result<String, Fault> {
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
fn sound(of: &Element) -> Result<Verb, Fault> {
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

fn gather(of: &Element, a: &mut Attributes<'_>) -> Result<Gather, Fault> {
    let action = a.target()?;
    let input = a.take("input").unwrap_or("dtmf");
    if !["dtmf", "speech", "dtmf speech", "speech dtmf"].contains(&input) {
        return Err(a.bad("input", input));
    }
    let finish_on = a.take("finishOnKey").unwrap_or("#").to_owned();
    let one = finish_on.chars().count() <= 1;
    if !one
        || !finish_on
            .chars()
            .all(|c| c.is_ascii_digit() || c == '#' || c == '*')
    {
        return Err(a.bad("finishOnKey", &finish_on));
    }
    let digits = a.number("numDigits", 0, (1, 1_000))?;
    a.one_of("bargeIn", &["true", "false"])?;
    let prompt = elements(of)?
        .into_iter()
        .map(sound)
        .collect::<Result<_, _>>()?;
    Ok(Gather {
        digits: usize::try_from(digits).ok().filter(|n| *n > 0),
        timeout: a.seconds("timeout", 5, (1, 600))?,
        finish_on,
        action,
        on_empty: a.yes("actionOnEmptyResult", false)?,
        keys: input.contains("dtmf"),
        prompt,
    })
}

fn dial(of: &Element, a: &mut Attributes<'_>) -> Result<Dial, Fault> {
    let action = a.target()?;
    if let Some(id) = a.take("callerId")
        && !crate::whose::is_e164(id)
    {
        return Err(Fault::new(13214, "Dial: Invalid callerId value"));
    }
    a.yes("answerOnBridge", false)?;
    a.yes("hangupOnStar", false)?;
    let timeout = a.seconds("timeout", 30, (5, 600))?;
    let time_limit = a.seconds("timeLimit", 14_400, (1, 86_400))?;
    let solid: Vec<_> = of.children.iter().filter(|node| !node.is_blank()).collect();
    let to = match solid.as_slice() {
        [Node::Text(text)] => number(text.trim())?,
        [Node::Element(child)] => {
            let text = only_text(child)?;
            Attributes::new(child).done()?;
            match child.name.as_str() {
                "Number" => number(&text)?,
                "Sip" if text.starts_with("sip:") || text.starts_with("sips:") => text,
                "Sip" => return Err(Fault::new(13221, "Dial->Sip: Invalid address")),
                other => return Err(invalid(format!("{other} may not be in Dial"))),
            }
        }
        _ => return Err(invalid("Dial has one destination")),
    };
    Ok(Dial {
        to,
        timeout,
        time_limit,
        action,
    })
}

fn number(text: &str) -> Result<String, Fault> {
    if crate::whose::is_e164(text) {
        Ok(text.to_owned())
    } else {
        Err(Fault::new(13223, "Dial: Invalid phone number format"))
    }
}

fn connect(of: &Element, action: Option<Target>) -> Result<Stream, Fault> {
    let mut a = Attributes::new(of);
    if of.name != "Stream" {
        return Err(invalid(format!("{} may not be in Connect", of.name)));
    }
    let url = a.take("url").unwrap_or_default().to_owned();
    // A query is refused: Twilio passes values on as parameters only.
    if !url.starts_with("wss://") || url.contains('?') {
        return Err(a.bad("url", &url));
    }
    a.take("name");
    a.one_of("track", &["inbound_track"])?;
    a.done()?;
    let mut params = BTreeMap::new();
    for child in elements(of)? {
        let mut a = Attributes::new(child);
        let (name, value) = (a.take("name"), a.take("value"));
        match (child.name.as_str(), name, value) {
            ("Parameter", Some(name), Some(value)) if name.len() + value.len() <= 500 => {
                params.insert(name.to_owned(), value.to_owned());
            }
            _ => return Err(invalid("Stream has parameters of at most 500 characters")),
        }
        a.done()?;
        empty(child)?;
    }
    Ok(Stream {
        url,
        params,
        action,
    })
}

fn record(a: &mut Attributes<'_>) -> Result<Record, Fault> {
    a.take("finishOnKey");
    a.one_of("trim", &["trim-silence", "do-not-trim"])?;
    a.one_of("recordingStatusCallbackMethod", &["POST"])?;
    let events = a.take("recordingStatusCallbackEvent").unwrap_or_default();
    Ok(Record {
        action: a.target()?,
        timeout: a.seconds("timeout", 5, (1, 600))?,
        longest: a.seconds("maxLength", 3_600, (1, 86_400))?,
        beep: a.yes("playBeep", true)?,
        callback: a.take("recordingStatusCallback").map(str::to_owned),
        events: events.split_whitespace().map(str::to_owned).collect(),
    })
}
