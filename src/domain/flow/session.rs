//! The interpreter: where a call stands, and what follows an input. Pure and deterministic, so that
//! a carrier that asks twice is answered alike, from what is stored.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::action::{Action, Input};
use super::program::{Op, Pc, Program};
use super::script::{Grain, Script, Words, cut};
use super::sentence::Sentence;
use super::turn::{Then, Turn, said};
use crate::call::Party;

/// Instructions that a call may take; a flow that was checked takes far fewer.
const MAX_RUN: u32 = 2_000;
/// Bytes of one variable's value, and of all that a call sets.
const MAX_VALUE: usize = 500;

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

    /// Whether what follows this input would be an opt-out.
    #[must_use]
    pub fn leads_to_opt_out(&self, script: &Script, input: Input, party: Option<Party>) -> bool {
        let whole = Script {
            grain: Grain::Document,
            ..script.clone()
        };
        self.clone().take(&whole, input, party).then == Then::OptOut
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

impl Point {
    fn words<'a>(&'a self, script: &'a Script) -> Words<'a> {
        Words {
            script,
            vars: &self.vars,
            digits: self.digits.as_deref(),
            party: self.party,
        }
    }

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
                let keys = input.keys().map_or("", |keys| keys.as_str()).to_owned();
                self.answered(script, keys);
            }
            Wait::Transfer => {
                if let Op::Transfer { failed, then, .. } = script.program.op(self.pc) {
                    let over = Input::Transferred { connected: true };
                    let connected = input == over || input == Input::Done;
                    self.pc = if connected { *then } else { *failed };
                }
            }
            Wait::OptOut => {
                let written = input == Input::OptedOut { written: true };
                let say = if let Op::OptOut { say } = script.program.op(self.pc) {
                    say.clone()
                } else {
                    None
                };
                self.pc = self.pc.saturating_add(1);
                let language = script.program.language.as_deref();
                actions.push(match say {
                    Some(text) if written => {
                        self.words(script).spoken(&text, language, None, false)?
                    }
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
                    actions.push(self.words(script).sounded(sound)?);
                    self.pc += 1;
                    (script.grain == Grain::Command).then_some(Wait::Step)
                }
                Op::Gather { .. } => Some(self.ask(script, op, actions)?),
                Op::Set { var, value } => {
                    let value = self.words(script).fill(value, false)?;
                    self.vars.insert(var.clone(), cut(&value, MAX_VALUE));
                    self.pc += 1;
                    None
                }
                Op::Branch {
                    on,
                    cases,
                    otherwise,
                } => {
                    let value = self.words(script).fill(on, false)?.trim().to_lowercase();
                    self.go(cases.get(&value).copied().unwrap_or(*otherwise));
                    None
                }
                Op::Record { on } => {
                    actions.push(Action::Record { on: *on });
                    self.pc += 1;
                    None
                }
                Op::Stream { .. } => Some(self.connect(script, op, actions)?),
                Op::Transfer { .. } => self.transfer(script, op, actions)?,
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

    fn connect(
        &mut self,
        script: &Script,
        op: &Op,
        actions: &mut Vec<Action>,
    ) -> Result<Wait, String> {
        let Op::Stream { url, codec, params } = op else {
            return Ok(Wait::Over);
        };
        let words = self.words(script);
        let filled = |(name, value): (&String, &String)| {
            let value = words.fill(value, false)?;
            Ok((name.clone(), cut(&value, MAX_VALUE)))
        };
        actions.push(Action::Stream {
            url: url.clone(),
            codec: *codec,
            params: params.iter().map(filled).collect::<Result<_, String>>()?,
        });
        self.pc += 1;
        Ok(Wait::Step)
    }

    /// `None`: there is nobody to connect to, which the flow provides for.
    fn transfer(
        &mut self,
        script: &Script,
        op: &Op,
        actions: &mut Vec<Action>,
    ) -> Result<Option<Wait>, String> {
        let Op::Transfer {
            to,
            caller_id,
            timeout_s,
            failed,
            ..
        } = op
        else {
            return Ok(Some(Wait::Over));
        };
        let Some((to, caller_id)) = self.words(script).target(to, caller_id)? else {
            self.go(*failed);
            return Ok(None);
        };
        actions.push(Action::Transfer {
            to,
            caller_id,
            timeout_s: *timeout_s,
        });
        Ok(Some(Wait::Transfer))
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
            actions.push(self.words(script).sounded(&prompt[heard])?);
            self.prompted += 1;
            return Ok(Wait::Step);
        }
        let rest = prompt.get(heard..).unwrap_or_default();
        let rest: Result<Vec<Action>, String> = rest
            .iter()
            .map(|sound| self.words(script).sounded(sound))
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
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
const fn is_zero(value: &u8) -> bool {
    *value == 0
}
