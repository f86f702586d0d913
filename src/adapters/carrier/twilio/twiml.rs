//! What a call does as a TwiML document. Written by an XML writer, element by element: whatever a
//! lead's variables hold stays text.

use std::borrow::Cow;
use std::io;

use dialfleet_domain::flow::action::Saying;
use dialfleet_domain::flow::{Action, Target, Then};
use dialfleet_engine::port::carrier::Page;
use quick_xml::escape::partial_escape;
use quick_xml::events::{BytesText, Event};
use quick_xml::writer::ElementWriter;
use quick_xml::{Reader, Writer};
use thiserror::Error;

/// Characters the `Twiml` field of a request may have.
const MAX_INLINE: usize = 4_000;
/// Bytes of a document that Twilio fetches.
const MAX_FETCHED: usize = 64 * 1024;

type Xml = Writer<Vec<u8>>;

/// Why a page cannot be written.
#[derive(Debug, Error)]
pub(super) enum TwimlError {
    #[error("the flow takes {0} characters as TwiML, more than the {1} Twilio takes")]
    TooLong(usize, usize),
    #[error("the flow cannot be written as TwiML")]
    Write(#[from] io::Error),
}

/// A page short enough for a request's field.
pub(super) fn inline(page: &Page) -> Result<String, TwimlError> {
    let text = document(page)?;
    match text.chars().count() {
        n if n > MAX_INLINE => Err(TwimlError::TooLong(n, MAX_INLINE)),
        _ => Ok(text),
    }
}

/// A page for Twilio to fetch.
pub(super) fn fetched(page: &Page) -> Result<String, TwimlError> {
    let text = document(page)?;
    match text.len() {
        n if n > MAX_FETCHED => Err(TwimlError::TooLong(n, MAX_FETCHED)),
        _ => Ok(text),
    }
}

/// Twilio hangs up at the end of a document.
fn document(page: &Page) -> Result<String, TwimlError> {
    let mut writer = Writer::new(Vec::new());
    writer
        .create_element("Response")
        .write_inner_content(|xml| {
            let url = page.next_url.as_str();
            page.actions
                .iter()
                .try_for_each(|action| write(xml, action, url))?;
            // These ask by themselves when they are over.
            let asks = matches!(
                page.actions.last(),
                Some(Action::Gather { .. } | Action::Transfer { .. })
            );
            if page.then == Then::Ask && !asks {
                xml.create_element("Redirect")
                    .with_attribute(("method", "POST"))
                    .write_text_content(text(url))?;
            }
            Ok(())
        })?;
    let text = String::from_utf8(writer.into_inner()).map_err(io::Error::other)?;
    Ok(text)
}

fn write(xml: &mut Xml, action: &Action, url: &str) -> io::Result<()> {
    match action {
        Action::Say(saying) => say(xml, saying)?,
        Action::Play { url } => {
            xml.create_element("Play").write_text_content(text(url))?;
        }
        Action::Pause { seconds } => {
            xml.create_element("Pause")
                .with_attribute(("length", seconds.to_string().as_str()))
                .write_empty()?;
        }
        Action::Gather {
            prompt,
            max_digits,
            finish_on,
            timeout_s,
            opt_out: _,
        } => {
            let finish_on = finish_on.map(String::from).unwrap_or_default();
            asking(xml.create_element("Gather"), url)
                .with_attribute(("input", "dtmf"))
                .with_attribute(("numDigits", max_digits.to_string().as_str()))
                .with_attribute(("timeout", timeout_s.to_string().as_str()))
                .with_attribute(("finishOnKey", finish_on.as_str()))
                // Without it a call where nothing is pressed falls out of its flow.
                .with_attribute(("actionOnEmptyResult", "true"))
                .write_inner_content(|xml| {
                    prompt.iter().try_for_each(|sound| write(xml, sound, url))
                })?;
        }
        Action::Record { on } => {
            let verb = if *on { "Start" } else { "Stop" };
            xml.create_element(verb).write_inner_content(|xml| {
                // Only one that has a name can be stopped.
                xml.create_element("Recording")
                    .with_attribute(("name", "flow"))
                    .write_empty()?;
                Ok(())
            })?;
        }
        // Twilio's streams are G.711 u-law, whatever is wished for.
        Action::Stream {
            url,
            codec: _,
            params,
        } => {
            xml.create_element("Connect").write_inner_content(|xml| {
                xml.create_element("Stream")
                    .with_attribute(("url", allowed(url).as_ref()))
                    .write_inner_content(|xml| {
                        params.iter().try_for_each(|(name, value)| {
                            xml.create_element("Parameter")
                                .with_attribute(("name", allowed(name).as_ref()))
                                .with_attribute(("value", allowed(value).as_ref()))
                                .write_empty()
                                .map(|_| ())
                        })
                    })?;
                Ok(())
            })?;
        }
        Action::Transfer {
            to,
            caller_id,
            timeout_s,
        } => {
            if let Target::Queue(name) = to {
                asking(xml.create_element("Enqueue"), url).write_text_content(text(name))?;
                return Ok(());
            }
            let mut dial = asking(xml.create_element("Dial"), url)
                .with_attribute(("timeout", timeout_s.to_string().as_str()))
                .with_attribute(("answerOnBridge", "true"));
            if let Some(number) = caller_id {
                dial = dial.with_attribute(("callerId", number.as_str()));
            }
            let noun = match to {
                Target::Number(_) => "Number",
                Target::Sip(_) | Target::Queue(_) => "Sip",
            };
            dial.write_inner_content(|xml| {
                xml.create_element(noun)
                    .write_text_content(text(to.address()))?;
                Ok(())
            })?;
        }
        Action::Hangup => {
            xml.create_element("Hangup").write_empty()?;
        }
    }
    Ok(())
}

fn asking<'a>(element: ElementWriter<'a, Vec<u8>>, url: &str) -> ElementWriter<'a, Vec<u8>> {
    element
        .with_attribute(("action", allowed(url).as_ref()))
        .with_attribute(("method", "POST"))
}

fn say(xml: &mut Xml, saying: &Saying) -> io::Result<()> {
    let mut element = xml.create_element("Say");
    let how = [("voice", &saying.voice), ("language", &saying.language)];
    for (name, value) in how {
        if let Some(value) = value {
            element = element.with_attribute((name, allowed(value).as_ref()));
        }
    }
    if saying.ssml {
        element.write_inner_content(|xml| ssml(xml, &saying.text))?;
    } else {
        element.write_text_content(text(&saying.text))?;
    }
    Ok(())
}

/// Element by element, so that nothing gets out of the sentence that is not one of its own.
fn ssml(xml: &mut Xml, source: &str) -> io::Result<()> {
    let source = allowed(source);
    let mut reader = Reader::from_str(&source);
    let mut depth = 0_usize;
    loop {
        match reader.read_event().map_err(io::Error::other)? {
            Event::Eof if depth == 0 => return Ok(()),
            event @ Event::Start(_) => {
                depth += 1;
                xml.write_event(event)?;
            }
            event @ Event::End(_) => {
                depth = depth
                    .checked_sub(1)
                    .ok_or_else(|| io::Error::other("SSML that closes what it did not open"))?;
                xml.write_event(event)?;
            }
            event @ (Event::Empty(_) | Event::Text(_) | Event::GeneralRef(_)) => {
                xml.write_event(event)?;
            }
            Event::Eof
            | Event::CData(_)
            | Event::Comment(_)
            | Event::Decl(_)
            | Event::PI(_)
            | Event::DocType(_) => return Err(io::Error::other("not SSML")),
        }
    }
}

/// Quotes need no escape in text, and would cost six characters each.
fn text(raw: &str) -> BytesText<'static> {
    BytesText::from_escaped(partial_escape(allowed(raw).as_ref()).into_owned())
}

/// The characters XML 1.0 has a way to write; the others would make Twilio refuse the document.
fn allowed(text: &str) -> Cow<'_, str> {
    let allows = |c: char| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'..);
    if text.chars().all(allows) {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(text.chars().filter(|c| allows(*c)).collect())
    }
}

#[cfg(test)]
#[path = "twiml_tests.rs"]
mod tests;
