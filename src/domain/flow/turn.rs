//! What follows an input.

use super::action::{Action, Saying};
use super::sentence::Sentence;

/// What follows an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// To be done, in order.
    pub actions: Vec<Action>,
    /// And then.
    pub then: Then,
    /// Why the call is ended with an apology, if it is: a sentence for the log.
    pub failed: Option<String>,
}

/// What comes after a turn's actions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// The next input.
    Ask,
    /// First the do-not-call entry must be written: [`Input::OptedOut`](super::Input::OptedOut).
    OptOut,
    /// The end of the call.
    End,
}

impl Turn {
    /// The end of a call on which something failed.
    #[must_use]
    pub fn apology(language: Option<&str>, why: String) -> Self {
        Self {
            actions: vec![said(Sentence::Apology, language), Action::Hangup],
            then: Then::End,
            failed: Some(why),
        }
    }
}

pub(super) fn said(sentence: Sentence, language: Option<&str>) -> Action {
    let (words, tag) = sentence.said(language);
    Action::Say(Saying {
        text: words.to_owned(),
        language: Some(tag),
        voice: None,
        ssml: false,
    })
}
