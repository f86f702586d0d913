//! A flow for one lead's call: what is said, with everything filled in.

use std::collections::BTreeMap;

use super::action::{Action, MAX_SAID, Saying, Target};
use super::program::{Op, Program, Sound};
use super::text::{self, check_ssml, is_template, name_of, render};
use super::{Flow, ShownNumber};
use crate::call::Party;
use crate::phone::E164;

/// How a carrier takes what it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grain {
    /// All that can be done until something must be heard.
    Document,
    /// One thing at a time (after those that take no time).
    Command,
}

/// What an interpreter works with besides the session.
#[derive(Debug, Clone)]
pub struct Script {
    /// The flow.
    pub program: Program,
    /// The lead's variables, under the names that templates use.
    pub values: BTreeMap<String, String>,
    /// How the carrier takes it.
    pub grain: Grain,
}

impl Script {
    /// For a lead with these variables.
    #[must_use]
    pub fn new(
        program: Program,
        vars: &BTreeMap<String, String>,
        phone: &E164,
        grain: Grain,
    ) -> Self {
        let mut values = program.defaults.clone();
        for (column, value) in vars {
            let name = name_of(column);
            // Of two columns with one name, the one that is written so.
            let exact = name == *column || !vars.contains_key(&name);
            if exact && !value.trim().is_empty() {
                values.insert(name, value.clone());
            }
        }
        values.insert("phone".to_owned(), phone.as_str().to_owned());
        Self {
            program,
            values,
            grain,
        }
    }

    /// Whether every sentence can be said to this lead, whatever is pressed.
    ///
    /// # Errors
    /// What it lacks.
    pub fn check(&self, flow: &Flow) -> Result<(), Lacking> {
        let assigned = &self.program.assigned;
        let known = |name: &String| {
            self.values.contains_key(name)
                || assigned.contains(name)
                || matches!(name.as_str(), "digits" | "party")
        };
        for template in flow.templates() {
            let names = text::names(template).map_err(Lacking::Unusable)?;
            if let Some(name) = names.into_iter().find(|name| !known(name)) {
                return Err(Lacking::Variable(name));
            }
        }
        let vars = BTreeMap::new();
        let words = Words {
            script: self,
            vars: &vars,
            digits: None,
            party: None,
        };
        for op in &self.program.ops {
            let sounds = match op {
                Op::Sound(sound) => std::slice::from_ref(sound),
                Op::Gather { prompt, .. } => prompt.as_slice(),
                Op::Set { .. }
                | Op::Branch { .. }
                | Op::Record { .. }
                | Op::Stream { .. }
                | Op::Transfer { .. }
                | Op::OptOut { .. }
                | Op::AwaitGreeting { .. }
                | Op::MessageLeft
                | Op::Jump(_)
                | Op::Hangup => &[],
            };
            for sound in sounds {
                words.sounded(sound).map_err(Lacking::Unusable)?;
            }
        }
        Ok(())
    }
}

/// Why a lead cannot be called with a flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lacking {
    /// It has no such variable, or an empty one, and the flow has no default for it.
    Variable(String),
    /// Its variables make something unusable: a sentence.
    Unusable(String),
}

/// What fills a text in: the lead's variables, and what the call has heard so far.
pub(super) struct Words<'a> {
    pub(super) script: &'a Script,
    pub(super) vars: &'a BTreeMap<String, String>,
    pub(super) digits: Option<&'a str>,
    pub(super) party: Option<Party>,
}

impl Words<'_> {
    pub(super) fn sounded(&self, sound: &Sound) -> Result<Action, String> {
        match sound {
            Sound::Say {
                text,
                language,
                voice,
                ssml,
            } => self.spoken(text, language.as_deref(), voice.as_deref(), *ssml),
            Sound::Play { url } => Ok(Action::Play {
                url: self.address(url)?,
            }),
            Sound::Pause { seconds } => Ok(Action::Pause { seconds: *seconds }),
        }
    }

    pub(super) fn address(&self, url: &str) -> Result<String, String> {
        let url = self.fill(url, false)?;
        if super::check::is_web_address(&url, "https") {
            Ok(url)
        } else {
            Err("a variable makes the address of a recording unusable".to_owned())
        }
    }

    pub(super) fn spoken(
        &self,
        text: &str,
        language: Option<&str>,
        voice: Option<&str>,
        ssml: bool,
    ) -> Result<Action, String> {
        let mut text = self.fill(text, ssml)?;
        if ssml {
            check_ssml(&text)?;
            if text.chars().count() > MAX_SAID {
                return Err("a sentence is too long with its variables".to_owned());
            }
        } else {
            text = text.chars().take(MAX_SAID).collect();
        }
        Ok(Action::Say(Saying {
            text,
            language: language.map(str::to_owned),
            voice: voice.map(str::to_owned),
            ssml,
        }))
    }

    /// `None`: there is nobody to connect to.
    pub(super) fn target(
        &self,
        to: &Target,
        caller_id: &ShownNumber,
    ) -> Result<Option<(Target, Option<E164>)>, String> {
        let address = self.fill(to.address(), false)?;
        let Some(to) = to.with(address.trim().to_owned()) else {
            return Ok(None);
        };
        let number = |text: &str| E164::parse(text, None).ok();
        let caller_id = match caller_id {
            ShownNumber::Ours => None,
            ShownNumber::Theirs => self.script.values.get("phone").and_then(|p| number(p)),
            ShownNumber::Number(text) => number(text),
        };
        Ok(Some((to, caller_id)))
    }

    pub(super) fn fill(&self, text: &str, ssml: bool) -> Result<String, String> {
        if !is_template(text) {
            return Ok(text.to_owned());
        }
        let mut values = self.script.values.clone();
        for name in &self.script.program.assigned {
            values.insert(name.clone(), String::new());
        }
        values.extend(self.vars.clone());
        values.insert(
            "digits".to_owned(),
            self.digits.unwrap_or_default().to_owned(),
        );
        let party = self.party.map_or("unknown", Party::name);
        values.insert("party".to_owned(), party.to_owned());
        render(text, ssml, &values)
    }
}

pub(super) fn cut(text: &str, bytes: usize) -> String {
    let end = (0..=bytes.min(text.len()))
        .rev()
        .find(|i| text.is_char_boundary(*i));
    text[..end.unwrap_or(0)].to_owned()
}
