//! The verbs that have parts of their own.

use std::collections::BTreeMap;

use super::attributes::Attributes;
use super::document::{
    Dial, Fault, Gather, Record, Stream, Target, elements, empty, invalid, only_text, sound,
};
use crate::takes::Plan;
use crate::xml::{Element, Node};

pub(super) fn gather(of: &Element, a: &mut Attributes<'_>) -> Result<Gather, Fault> {
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

pub(super) fn dial(of: &Element, a: &mut Attributes<'_>) -> Result<Dial, Fault> {
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

pub(super) fn connect(of: &Element, action: Option<Target>) -> Result<Stream, Fault> {
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

pub(super) fn record(a: &mut Attributes<'_>) -> Result<Record, Fault> {
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

/// The one `Recording` in a `Start` or a `Stop`.
pub(super) fn recording(of: &Element) -> Result<Plan, Fault> {
    Attributes::new(of).done()?;
    let children = elements(of)?;
    let [noun] = children.as_slice() else {
        return Err(invalid(format!("{} has one Recording", of.name)));
    };
    if noun.name != "Recording" {
        return Err(invalid(format!("{} may not be in {}", noun.name, of.name)));
    }
    empty(noun)?;
    let mut a = Attributes::new(noun);
    a.take("name");
    a.one_of("trim", &["trim-silence", "do-not-trim"])?;
    a.one_of("recordingStatusCallbackMethod", &["POST"])?;
    let channels = a.one_of("channels", &["mono", "dual"])?;
    let track = a.one_of("track", &["inbound", "outbound", "both"])?;
    let events = a.take("recordingStatusCallbackEvent").unwrap_or_default();
    let callback = a.take("recordingStatusCallback").map(str::to_owned);
    a.done()?;
    Ok(Plan {
        dual: channels == Some("dual"),
        track: track.unwrap_or("both").to_owned(),
        source: "StartCallRecordingTwiML",
        callback,
        events: events.split_whitespace().map(str::to_owned).collect(),
        ..Plan::default()
    })
}
