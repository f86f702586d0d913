//! The interpreter: where a call stands, and what follows an input. Pure and deterministic, so that
//! a carrier that asks twice is answered alike, from what is stored.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::action::{Action, Input, MAX_SAID, Saying, Target};
use super::program::{Op, Pc, Program, Sound};
use super::sentence::Sentence;
use super::text::{self, check_ssml, name_of, render};
use super::{ShownNumber, text::is_template};
use crate::call::Party;
use crate::phone::E164;

/// Instructions that a call may take; a flow that was checked takes far fewer.
const MAX_RUN: u32 = 2_000;
/// Bytes of one variable's value, and of all that a call sets.
const MAX_VALUE: usize = 500;

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

/// Where a call stands. Stored with its attempt.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Session {
    /// Inputs taken so far: the number of the next one.
    pub turn: u32,
    at: Point,
    /// Where it stood before the last input, and that input: the same question gets the same answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    before: Option<Box<Before>>,
    /// The voicemail was played to its end.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub message_left: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
struct Before {
    at: Point,
    input: Input,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
struct Point {
    pc: Pc,
    #[serde(default)]
    wait: Wait,
    /// Times that the present question was asked already.
    #[serde(default, skip_serializing_if = "is_zero")]
    tries: u8,
    /// Parts of its prompt that were heard already.
    #[serde(default, skip_serializing_if = "is_zero")]
    prompted: u8,
    /// Instructions taken.
    #[serde(default)]
    run: u32,
    /// What the call set.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    vars: BTreeMap<String, String>,
    /// The last keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    digits: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    party: Option<Party>,
}

/// What is awaited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Wait {
    /// The answer.
    #[default]
    Answer,
    /// The end of what is done now.
    Step,
    /// Keys.
    Keys,
    /// The end of a transfer.
    Transfer,
    /// The do-not-call entry.
    OptOut,
    /// Nothing more: the call ends.
    Over,
}

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
    /// First the do-not-call entry must be written: [`Input::OptedOut`].
    OptOut,
    /// The end of the call.
    End,
}

impl Session {
    /// Takes an input, and says what follows. `party`: who is known to have answered.
    pub fn take(&mut self, script: &Script, input: Input, party: Option<Party>) -> Turn {
        self.at.party = party;
        let before = Before {
            at: self.at.clone(),
            input,
        };
        let turn = self.at.take(script, input, &mut self.message_left);
        self.before = Some(Box::new(before));
        self.turn = self.turn.saturating_add(1);
        turn
    }

    /// What followed the last input. `None` before the first.
    #[must_use]
    pub fn again(&self, script: &Script) -> Option<Turn> {
        let before = self.before.as_deref()?;
        let mut at = before.at.clone();
        Some(at.take(script, before.input, &mut false))
    }

    /// Whether the do-not-call entry is awaited.
    #[must_use]
    pub const fn awaits_opt_out(&self) -> bool {
        matches!(self.at.wait, Wait::OptOut)
    }

    /// Whether it has come to its end.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        matches!(self.at.wait, Wait::Over)
    }

    /// Whether [`Input::Machine`] is news to it: the message is not begun yet.
    #[must_use]
    pub fn hears_machine(&self, program: &Program, greeting_over: bool) -> bool {
        let before = program.op(self.at.pc.wrapping_sub(1));
        let waits = matches!(before, Op::AwaitGreeting { .. });
        let begun = self.at.in_voicemail(program) && !(waits && greeting_over);
        program.has_voicemail() && !begun && !self.message_left
    }

    /// Whether the last input came while something else was heard.
    #[must_use]
    pub fn interrupts(&self) -> bool {
        let unasked = |input| matches!(input, Input::Machine { .. } | Input::Human);
        self.before.as_ref().is_some_and(|b| unasked(b.input))
    }

    /// Whether it is in the voicemail: waiting for the greeting's end, or leaving the message.
    #[must_use]
    pub fn leaves_message(&self, program: &Program) -> bool {
        self.at.in_voicemail(program)
    }

    /// What the call set.
    #[must_use]
    pub const fn vars(&self) -> &BTreeMap<String, String> {
        &self.at.vars
    }
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

fn said(sentence: Sentence, language: Option<&str>) -> Action {
    let (words, tag) = sentence.said(language);
    Action::Say(Saying {
        text: words.to_owned(),
        language: Some(tag),
        voice: None,
        ssml: false,
    })
}

impl Point {
    fn in_voicemail(&self, program: &Program) -> bool {
        let inside = |(from, to): (Pc, Pc)| (from..to).contains(&self.pc);
        program.voicemail.is_some_and(inside)
    }

    fn take(&mut self, script: &Script, input: Input, left: &mut bool) -> Turn {
        let mut actions = Vec::new();
        match self.heard(script, input, &mut actions) {
            Ok(()) => {}
            Err(why) => return self.give_up(script, why),
        }
        match self.run(script, &mut actions, left) {
            Ok(then) => Turn {
                actions,
                then,
                failed: None,
            },
            Err(why) => self.give_up(script, why),
        }
    }

    fn give_up(&mut self, script: &Script, why: String) -> Turn {
        self.wait = Wait::Over;
        self.pc = Pc::MAX;
        let mut turn = Turn::apology(script.program.language.as_deref(), why);
        if script.grain == Grain::Command {
            // Told to hang up at once, the carrier would not finish the sentence.
            turn.actions.truncate(1);
            turn.then = Then::Ask;
        }
        turn
    }

    /// What an input makes of the place where the call stands.
    fn heard(
        &mut self,
        script: &Script,
        input: Input,
        actions: &mut Vec<Action>,
    ) -> Result<(), String> {
        match input {
            Input::Machine { greeting_over } => {
                if let Some((from, _)) = script.program.voicemail {
                    self.go(from + u32::from(greeting_over));
                }
                return Ok(());
            }
            Input::Human => {
                self.go(0);
                return Ok(());
            }
            Input::Done
            | Input::Failed
            | Input::Keys { .. }
            | Input::Transferred { .. }
            | Input::OptedOut { .. } => {}
        }
        match self.wait {
            Wait::Answer => {}
            Wait::Over => self.pc = Pc::MAX,
            Wait::Step => {
                // A message that could not be played was not left.
                if input == Input::Failed && self.in_voicemail(&script.program) {
                    self.pc = Pc::MAX;
                }
            }
            Wait::Keys => {
                let keys = match input {
                    Input::Keys { keys } => keys.as_str().to_owned(),
                    _ => String::new(),
                };
                self.answered(script, keys);
            }
            Wait::Transfer => {
                if let Op::Transfer { failed, then, .. } = script.program.op(self.pc) {
                    let connected = match input {
                        Input::Transferred { connected } => connected,
                        _ => input == Input::Done,
                    };
                    self.pc = if connected { *then } else { *failed };
                }
            }
            Wait::OptOut => {
                let written = input == Input::OptedOut { written: true };
                let say = match script.program.op(self.pc) {
                    Op::OptOut { say } => say.clone(),
                    _ => None,
                };
                self.pc = self.pc.saturating_add(1);
                let language = script.program.language.as_deref();
                actions.push(match say {
                    Some(text) if written => self.spoken(script, &text, language, None, false)?,
                    _ if written => said(Sentence::OptedOut, language),
                    _ => said(Sentence::NotYetOptedOut, language),
                });
                if script.grain == Grain::Command {
                    self.wait = Wait::Step;
                    return Ok(());
                }
            }
        }
        self.wait = Wait::Answer;
        Ok(())
    }

    /// Keys were pressed, or none.
    fn answered(&mut self, script: &Script, keys: String) {
        let Op::Gather {
            set,
            min,
            tries,
            options,
            then,
            none,
            ..
        } = script.program.op(self.pc)
        else {
            return;
        };
        let way = match options {
            Some(options) => options.get(&keys).copied(),
            None => (keys.len() >= usize::from(*min)).then_some(*then),
        };
        if let Some(way) = way {
            if let Some(var) = set {
                self.vars.insert(var.clone(), keys.clone());
            }
            self.digits = Some(keys);
            self.go(way);
        } else if self.tries.saturating_add(1) >= *tries {
            self.go(*none);
        } else {
            self.tries += 1;
        }
    }

    fn go(&mut self, pc: Pc) {
        self.pc = pc;
        self.tries = 0;
        self.prompted = 0;
        self.wait = Wait::Answer;
    }

    fn run(
        &mut self,
        script: &Script,
        actions: &mut Vec<Action>,
        left: &mut bool,
    ) -> Result<Then, String> {
        if self.wait == Wait::Step {
            return Ok(Then::Ask);
        }
        loop {
            self.run = self.run.saturating_add(1);
            let op = if self.run > MAX_RUN {
                &Op::Hangup
            } else {
                script.program.op(self.pc)
            };
            let then = match op {
                Op::Sound(sound) => {
                    actions.push(self.sounded(script, sound)?);
                    self.pc += 1;
                    (script.grain == Grain::Command).then_some(Wait::Step)
                }
                Op::Gather { .. } => Some(self.ask(script, op, actions)?),
                Op::Set { var, value } => {
                    let value = self.fill(script, value, false)?;
                    self.vars.insert(var.clone(), cut(&value, MAX_VALUE));
                    self.pc += 1;
                    None
                }
                Op::Branch {
                    on,
                    cases,
                    otherwise,
                } => {
                    let value = self.fill(script, on, false)?.trim().to_lowercase();
                    self.go(cases.get(&value).copied().unwrap_or(*otherwise));
                    None
                }
                Op::Record { on } => {
                    actions.push(Action::Record { on: *on });
                    self.pc += 1;
                    None
                }
                Op::Stream { url, codec, params } => {
                    let filled = |(name, value): (&String, &String)| {
                        let value = self.fill(script, value, false)?;
                        Ok((name.clone(), cut(&value, MAX_VALUE)))
                    };
                    actions.push(Action::Stream {
                        url: url.clone(),
                        codec: *codec,
                        params: params.iter().map(filled).collect::<Result<_, String>>()?,
                    });
                    self.pc += 1;
                    Some(Wait::Step)
                }
                Op::Transfer {
                    to,
                    caller_id,
                    timeout_s,
                    failed,
                    ..
                } => match self.target(script, to, caller_id) {
                    Ok((to, caller_id)) => {
                        actions.push(Action::Transfer {
                            to,
                            caller_id,
                            timeout_s: *timeout_s,
                        });
                        Some(Wait::Transfer)
                    }
                    Err(why) if why.is_empty() => {
                        self.go(*failed);
                        None
                    }
                    Err(why) => return Err(why),
                },
                Op::OptOut { .. } => Some(Wait::OptOut),
                Op::AwaitGreeting { wait_s } => {
                    self.pc += 1;
                    // Nobody knows of a machine, or its greeting is over: no need to wait.
                    if self.party == Some(Party::Machine) {
                        actions.push(Action::Pause { seconds: *wait_s });
                        Some(Wait::Step)
                    } else {
                        None
                    }
                }
                // Left when it was heard, and not when it was written into a document.
                Op::MessageLeft if !actions.is_empty() => Some(Wait::Step),
                Op::MessageLeft => {
                    *left = true;
                    self.pc += 1;
                    None
                }
                Op::Jump(to) => {
                    self.go(*to);
                    None
                }
                Op::Hangup => {
                    actions.push(Action::Hangup);
                    Some(Wait::Over)
                }
            };
            if let Some(wait) = then {
                self.wait = wait;
                return Ok(match wait {
                    Wait::OptOut => Then::OptOut,
                    Wait::Over => Then::End,
                    Wait::Answer | Wait::Step | Wait::Keys | Wait::Transfer => Then::Ask,
                });
            }
        }
    }

    /// Asks for keys; for a carrier that is told one thing at a time, the prompt but its last part is
    /// heard before.
    fn ask(&mut self, script: &Script, op: &Op, actions: &mut Vec<Action>) -> Result<Wait, String> {
        let Op::Gather {
            prompt,
            max,
            finish_on,
            timeout_s,
            opt_out,
            ..
        } = op
        else {
            return Ok(Wait::Over);
        };
        let heard = usize::from(self.prompted);
        if script.grain == Grain::Command && heard + 1 < prompt.len() {
            actions.push(self.sounded(script, &prompt[heard])?);
            self.prompted += 1;
            return Ok(Wait::Step);
        }
        let rest = prompt.get(heard..).unwrap_or_default();
        let rest: Result<Vec<Action>, String> = rest
            .iter()
            .map(|sound| self.sounded(script, sound))
            .collect();
        actions.push(Action::Gather {
            prompt: rest?,
            max_digits: *max,
            finish_on: *finish_on,
            timeout_s: *timeout_s,
            opt_out: opt_out.clone(),
        });
        self.prompted = 0;
        Ok(Wait::Keys)
    }

    fn sounded(&self, script: &Script, sound: &Sound) -> Result<Action, String> {
        match sound {
            Sound::Say {
                text,
                language,
                voice,
                ssml,
            } => self.spoken(script, text, language.as_deref(), voice.as_deref(), *ssml),
            Sound::Play { url } => Ok(Action::Play {
                url: self.address(script, url)?,
            }),
            Sound::Pause { seconds } => Ok(Action::Pause { seconds: *seconds }),
        }
    }

    fn address(&self, script: &Script, url: &str) -> Result<String, String> {
        let url = self.fill(script, url, false)?;
        if super::check::is_web_address(&url, "https") {
            Ok(url)
        } else {
            Err("a variable makes the address of a recording unusable".to_owned())
        }
    }

    fn spoken(
        &self,
        script: &Script,
        text: &str,
        language: Option<&str>,
        voice: Option<&str>,
        ssml: bool,
    ) -> Result<Action, String> {
        let mut text = self.fill(script, text, ssml)?;
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

    /// An empty reason: there is nobody to connect to, which the flow provides for.
    fn target(
        &self,
        script: &Script,
        to: &Target,
        caller_id: &ShownNumber,
    ) -> Result<(Target, Option<E164>), String> {
        let address = self.fill(script, to.address(), false)?;
        let to = to.with(address.trim().to_owned()).ok_or_else(String::new)?;
        let number = |text: &str| E164::parse(text, None).ok();
        let caller_id = match caller_id {
            ShownNumber::Ours => None,
            ShownNumber::Theirs => script.values.get("phone").and_then(|p| number(p)),
            ShownNumber::Number(text) => number(text),
        };
        Ok((to, caller_id))
    }

    fn fill(&self, script: &Script, text: &str, ssml: bool) -> Result<String, String> {
        if !is_template(text) {
            return Ok(text.to_owned());
        }
        let mut values = script.values.clone();
        for name in &script.program.assigned {
            values.insert(name.clone(), String::new());
        }
        values.extend(self.vars.clone());
        values.insert("digits".to_owned(), self.digits.clone().unwrap_or_default());
        let party = self.party.map_or("unknown", Party::name);
        values.insert("party".to_owned(), party.to_owned());
        render(text, ssml, &values)
    }
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
    pub fn check(&self, flow: &super::Flow) -> Result<(), Lacking> {
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
        let point = Point::default();
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
                point.sounded(self, sound).map_err(Lacking::Unusable)?;
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

fn cut(text: &str, bytes: usize) -> String {
    let end = (0..=bytes.min(text.len()))
        .rev()
        .find(|i| text.is_char_boundary(*i));
    text[..end.unwrap_or(0)].to_owned()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
const fn is_zero(value: &u8) -> bool {
    *value == 0
}
