//! A flow as a TwiML document.

use std::borrow::Cow;
use std::io;

use dialfleet_domain::flow::{Flow, Step};
use quick_xml::Writer;
use quick_xml::escape::partial_escape;
use quick_xml::events::BytesText;
use thiserror::Error;

/// Characters the `Twiml` field of a create request may have.
const MAX_CHARS: usize = 4_000;

/// Why a flow cannot be sent.
#[derive(Debug, Error)]
pub(super) enum TwimlError {
    #[error("the flow takes {0} characters as TwiML, more than the {MAX_CHARS} Twilio takes")]
    TooLong(usize),
    #[error("the flow cannot be written as TwiML")]
    Write(#[from] io::Error),
}

/// Writes the flow. Twilio hangs up at the end of the document, as the flow does after its last step.
pub(super) fn document(flow: &Flow) -> Result<String, TwimlError> {
    let mut writer = Writer::new(Vec::new());
    writer
        .create_element("Response")
        .write_inner_content(|writer| {
            flow.steps
                .iter()
                .try_for_each(|step| write_step(writer, step))
        })?;
    let text = String::from_utf8(writer.into_inner()).map_err(io::Error::other)?;
    match text.chars().count() {
        n if n > MAX_CHARS => Err(TwimlError::TooLong(n)),
        _ => Ok(text),
    }
}

fn write_step(writer: &mut Writer<Vec<u8>>, step: &Step) -> io::Result<()> {
    match step {
        Step::Say {
            text,
            language,
            voice,
        } => {
            let text = allowed(text);
            let mut say = writer.create_element("Say");
            for (name, value) in [("voice", voice), ("language", language)] {
                if let Some(value) = value {
                    say = say.with_attribute((name, allowed(value).as_ref()));
                }
            }
            // Quotes need no escape in text, and would cost six characters each.
            say.write_text_content(BytesText::from_escaped(partial_escape(text.as_ref())))?;
        }
        Step::Pause { seconds } => {
            let length = seconds.to_string();
            writer
                .create_element("Pause")
                .with_attribute(("length", length.as_str()))
                .write_empty()?;
        }
        Step::Hangup => {
            writer.create_element("Hangup").write_empty()?;
        }
    }
    Ok(())
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
mod tests {
    use super::*;
    use dialfleet_domain::flow::MAX_TEXT;

    fn say(text: &str) -> Step {
        Step::Say {
            text: text.to_owned(),
            language: None,
            voice: None,
        }
    }

    fn one(step: Step) -> String {
        document(&Flow { steps: vec![step] }).unwrap()
    }

    #[test]
    fn every_step_has_its_verb() {
        let greeting = Step::Say {
            text: "Good morning".to_owned(),
            language: Some("en-GB".to_owned()),
            voice: Some("Polly.Amy".to_owned()),
        };
        let steps = vec![
            greeting,
            Step::Pause { seconds: 3 },
            say("Bye"),
            Step::Hangup,
        ];
        assert_eq!(
            document(&Flow { steps }).unwrap(),
            "<Response><Say voice=\"Polly.Amy\" language=\"en-GB\">Good morning</Say>\
             <Pause length=\"3\"/><Say>Bye</Say><Hangup/></Response>"
        );
        assert_eq!(
            document(&Flow { steps: vec![] }).unwrap(),
            "<Response></Response>"
        );
    }

    #[test]
    fn hostile_text_stays_text() {
        let table = [
            (
                "</Say><Dial>+15550100123</Dial>",
                "&lt;/Say&gt;&lt;Dial&gt;+15550100123&lt;/Dial&gt;",
            ),
            ("a & b &amp; c", "a &amp; b &amp;amp; c"),
            ("]]> 'quoted' \"twice\"", "]]&gt; 'quoted' \"twice\""),
            ("héllo 👋🏽 नमस्ते", "héllo 👋🏽 नमस्ते"),
            ("a\0b\u{1}c\u{1b}d\u{FFFE}e\u{FFFF}f\tg\n", "abcdef\tg\n"),
        ];
        for (text, written) in table {
            assert_eq!(
                one(say(text)),
                format!("<Response><Say>{written}</Say></Response>")
            );
        }
        let hostile = Step::Say {
            text: "x".to_owned(),
            language: Some("en\"><Dial>\0".to_owned()),
            voice: Some("'&".to_owned()),
        };
        assert_eq!(
            one(hostile),
            "<Response><Say voice=\"&apos;&amp;\" language=\"en&quot;&gt;&lt;Dial&gt;\">x</Say></Response>"
        );
    }

    #[test]
    fn what_was_written_reads_back_as_it_was() {
        let text = "Tom & Jerry <b>\"'; 👋";
        let xml = one(say(text));
        let inner = xml
            .strip_prefix("<Response><Say>")
            .unwrap()
            .strip_suffix("</Say></Response>");
        assert_eq!(quick_xml::escape::unescape(inner.unwrap()).unwrap(), text);
    }

    #[test]
    fn four_thousand_characters_fit_and_no_more() {
        let around = "<Response><Say></Say></Response>".len();
        assert_eq!(
            one(say(&"é".repeat(MAX_CHARS - around))).chars().count(),
            MAX_CHARS
        );
        let over = document(&Flow {
            steps: vec![say(&"a".repeat(MAX_CHARS - around + 1))],
        });
        assert!(matches!(over, Err(TwimlError::TooLong(4_001))));
        let escaped = document(&Flow {
            steps: vec![say(&"&".repeat(MAX_TEXT))],
        });
        assert!(matches!(escaped, Err(TwimlError::TooLong(7_532))));
    }
}
