//! What the types of a flow cannot hold.

use std::collections::BTreeSet;
use std::fmt;

use super::text::{self, check_ssml, is_name, is_template};
use super::{
    Flow, MAX_DEPTH, MAX_NAMES, MAX_STEPS, MAX_TEXT, MAX_TEXTS, MAX_WAITING_S, ShownNumber, Step,
    Target,
};
use crate::campaign::MAX_CONCURRENCY;
use crate::phone::E164;

/// Faults told at once.
const MAX_FAULTS: usize = 20;

/// Something wrong with a flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where, as a JSON pointer into the flow.
    pub pointer: String,
    /// What is wrong.
    pub reason: String,
    /// What to do about it.
    pub fix: String,
}

impl Fault {
    pub(super) fn new(
        pointer: impl Into<String>,
        reason: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self {
            pointer: pointer.into(),
            reason: reason.into(),
            fix: fix.into(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            pointer,
            reason,
            fix,
        } = self;
        let place = if pointer.is_empty() { "/" } else { pointer };
        write!(f, "{place}: {reason} ({fix})")
    }
}

pub(super) fn check(flow: &Flow) -> Result<(), Vec<Fault>> {
    let mut checker = Checker {
        flow,
        faults: Vec::new(),
        steps: 0,
        chars: 0,
        waiting_s: 0,
    };
    checker.whole();
    if checker.faults.is_empty() {
        Ok(())
    } else {
        checker.faults.truncate(MAX_FAULTS);
        Err(checker.faults)
    }
}

/// Whether `url` can be asked for: a scheme, a host and printable ASCII.
pub(super) fn is_web_address(url: &str, scheme: &str) -> bool {
    let rest = url
        .strip_prefix(scheme)
        .and_then(|rest| rest.strip_prefix("://"));
    let host = rest.and_then(|rest| rest.split(['/', '?', '#']).next());
    let plain = |host: &str| {
        !host.is_empty()
            && !host.contains('@')
            && host
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-.:[]".contains(&b))
    };
    host.is_some_and(plain) && url.len() <= 1_000 && url.bytes().all(|b| b.is_ascii_graphic())
}

pub(super) struct Checker<'a> {
    flow: &'a Flow,
    faults: Vec<Fault>,
    steps: usize,
    chars: usize,
    pub(super) waiting_s: u64,
}

impl Checker<'_> {
    pub(super) fn fault(
        &mut self,
        pointer: String,
        reason: impl Into<String>,
        fix: impl Into<String>,
    ) {
        self.faults.push(Fault::new(pointer, reason, fix));
    }

    fn whole(&mut self) {
        let flow = self.flow;
        if flow.steps.is_empty() {
            self.fault(
                "/steps".to_owned(),
                "a flow needs at least one step",
                "begin with a \"say\"",
            );
        }
        self.block(&flow.steps, "/steps", 1);
        if let Some(voicemail) = &flow.voicemail {
            self.voicemail(voicemail);
        }
        self.spoken_as("", flow.language.as_deref(), flow.voice.as_deref());
        let names = flow.assigned();
        if names.len() > MAX_NAMES || flow.defaults.len() > MAX_NAMES {
            self.fault(
                "/defaults".to_owned(),
                format!("at most {MAX_NAMES} variables can be set or have defaults"),
                "use fewer",
            );
        }
        for (name, value) in &flow.defaults {
            let pointer = format!("/defaults/{}", name.replace('~', "~0").replace('/', "~1"));
            if !is_name(name) {
                self.fault(pointer.clone(), BAD_NAME, FIX_NAME);
            }
            if value.trim().is_empty() || value.chars().count() > MAX_TEXT || is_template(value) {
                self.fault(
                    pointer,
                    format!("a default has 1 to {MAX_TEXT} characters, and is no template"),
                    "give the words that are said instead",
                );
            }
        }
        if self.steps > MAX_STEPS {
            self.fault(
                "/steps".to_owned(),
                format!("{} steps; there may be {MAX_STEPS}", self.steps),
                "split the flow",
            );
        }
        if self.chars > MAX_TEXTS {
            self.fault(
                "/steps".to_owned(),
                format!(
                    "all texts together have {} characters; there may be {MAX_TEXTS}",
                    self.chars
                ),
                "say less",
            );
        }
        if self.waiting_s > MAX_WAITING_S {
            self.fault(
                "/steps".to_owned(),
                format!(
                    "pauses, time-outs and transfers may take {} s together; there may be {MAX_WAITING_S}",
                    self.waiting_s
                ),
                "shorten them, or ask less often",
            );
        }
    }

    pub(super) fn block(&mut self, steps: &[Step], pointer: &str, depth: usize) {
        if depth > MAX_DEPTH {
            if !steps.is_empty() {
                self.fault(
                    pointer.to_owned(),
                    format!("blocks are nested more than {MAX_DEPTH} deep"),
                    "ask fewer questions one in another",
                );
            }
            return;
        }
        for (i, step) in steps.iter().enumerate() {
            self.steps += 1;
            let here = format!("{pointer}/{i}");
            self.step(step, &here);
            for (name, block) in step.blocks() {
                self.block(block, &format!("{here}/{name}"), depth + 1);
            }
            let ends = matches!(step, Step::Hangup | Step::OptOut { .. } | Step::Voicemail);
            if ends && i + 1 < steps.len() {
                self.fault(
                    format!("{pointer}/{}", i + 1),
                    "nothing comes after the end of the call",
                    "remove it, or the step before it",
                );
            }
        }
    }

    fn step(&mut self, step: &Step, here: &str) {
        match step {
            Step::Say {
                text,
                language,
                voice,
                ssml,
            } => {
                self.text(&format!("{here}/text"), text, *ssml);
                self.spoken_as(here, language.as_deref(), voice.as_deref());
            }
            Step::Play { url } => self.play(here, url),
            Step::Pause { seconds } => {
                self.within(&format!("{here}/seconds"), *seconds, 1, 60);
                self.waiting_s += u64::from(*seconds);
            }
            Step::Gather { .. } => self.gather(step, here),
            Step::Menu { .. } => self.menu(step, here),
            Step::Set { var, value } => {
                self.assigns(&format!("{here}/var"), var);
                self.template(&format!("{here}/value"), value, true);
            }
            Step::Branch { on, cases, .. } => {
                if is_template(on) {
                    self.template(&format!("{here}/on"), on, false);
                } else {
                    let on = on.trim();
                    self.fault(
                        format!("{here}/on"),
                        "a branch needs something that varies",
                        format!("write \"{{{{ {on} }}}}\" for the variable"),
                    );
                }
                if cases.is_empty() || cases.len() > 32 {
                    self.fault(
                        format!("{here}/cases"),
                        "a branch has 1 to 32 cases",
                        "name the values",
                    );
                }
                let mut seen = BTreeSet::new();
                if !cases
                    .keys()
                    .all(|value| seen.insert(value.trim().to_lowercase()))
                {
                    self.fault(
                        format!("{here}/cases"),
                        "two cases are the same but for capitals",
                        "join them",
                    );
                }
            }
            Step::Stream {
                url,
                params,
                capacity,
                ..
            } => {
                if let Some(most) = capacity {
                    self.within(&format!("{here}/capacity"), *most, 1, MAX_CONCURRENCY);
                }
                if !is_web_address(url, "wss") || url.contains(['?', '#']) {
                    self.fault(
                        format!("{here}/url"),
                        "not a wss address without a query",
                        "write wss://host/path, and what it must know into params",
                    );
                }
                if params.len() > 20 || !params.keys().all(|name| is_name(name)) {
                    self.fault(format!("{here}/params"), BAD_NAME, FIX_NAME);
                }
                for (name, value) in params {
                    self.template(&format!("{here}/params/{name}"), value, true);
                }
            }
            Step::Transfer {
                to,
                caller_id,
                timeout_s,
                ..
            } => {
                self.transfer(here, to, caller_id);
                self.within(&format!("{here}/timeout_s"), *timeout_s, 5, 120);
                self.waiting_s += u64::from(*timeout_s);
            }
            Step::Voicemail => {
                if self.flow.voicemail.is_none() {
                    self.fault(
                        here.to_owned(),
                        "the flow has no voicemail",
                        "give it one: \"voicemail\": {\"steps\": [...]} beside \"steps\"",
                    );
                }
            }
            Step::OptOut { say } => {
                if let Some(say) = say {
                    self.text(&format!("{here}/say"), say, false);
                }
            }
            Step::Record { .. } | Step::Hangup => {}
        }
    }

    fn play(&mut self, here: &str, url: &str) {
        let pointer = format!("{here}/url");
        let tried = if is_template(url) {
            self.template(&pointer, url, false);
            // The host must not come from a list.
            let fixed = url.split("{{").next().unwrap_or_default();
            fixed.matches('/').count() >= 3 && is_web_address(fixed, "https")
        } else {
            is_web_address(url, "https")
        };
        if !tried {
            self.fault(
                pointer,
                "not an https address",
                "write https://host/file.mp3; variables only after the host",
            );
        }
    }

    fn transfer(&mut self, here: &str, to: &Target, caller_id: &ShownNumber) {
        let pointer = format!("{here}/to");
        let address = to.address();
        if is_template(address) {
            self.template(&pointer, address, false);
        } else if to.with(address.to_owned()).is_none() {
            let (reason, fix) = match to {
                Target::Number(_) => ("not a telephone number", "write it as +442079460119"),
                Target::Sip(_) => ("not a SIP address", "write it as sip:desk@example.com"),
                Target::Queue(_) => (
                    "not the name of a queue",
                    "1 to 64 characters, as the carrier knows it",
                ),
            };
            self.fault(pointer, reason, fix);
        }
        if let ShownNumber::Number(number) = caller_id
            && E164::parse(number, None).is_err()
        {
            self.fault(
                format!("{here}/caller_id"),
                "not a telephone number",
                "write it as +442079460119",
            );
        }
    }

    fn text(&mut self, pointer: &str, text: &str, ssml: bool) {
        self.template(pointer, text, false);
        if ssml
            && !is_template(text)
            && let Err(why) = check_ssml(text)
        {
            self.fault(pointer.to_owned(), why, "see the SSML of your voice");
        }
    }

    fn template(&mut self, pointer: &str, text: &str, may_be_empty: bool) {
        let chars = text.chars().count();
        self.chars += chars;
        if (text.trim().is_empty() && !may_be_empty) || chars > MAX_TEXT {
            self.fault(
                pointer.to_owned(),
                format!("a text has 1 to {MAX_TEXT} characters, not {chars}"),
                "split it",
            );
        }
        if let Err(why) = text::names(text) {
            self.fault(
                pointer.to_owned(),
                why,
                "write {{ name }} for a variable, and what it may lack into \"defaults\"",
            );
        }
    }

    pub(super) fn assigns(&mut self, pointer: &str, name: &str) {
        if !is_name(name) || matches!(name, "digits" | "party" | "phone") {
            self.fault(pointer.to_owned(), BAD_NAME, FIX_NAME);
        }
    }

    fn spoken_as(&mut self, here: &str, language: Option<&str>, voice: Option<&str>) {
        let language_ok = |tag: &str| {
            (2..=35).contains(&tag.len())
                && tag.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        if language.is_some_and(|tag| !language_ok(tag)) {
            self.fault(
                format!("{here}/language"),
                "not a language tag",
                "write it as en-GB",
            );
        }
        let voice_ok =
            |name: &str| (1..=64).contains(&name.len()) && !name.chars().any(char::is_control);
        if voice.is_some_and(|name| !voice_ok(name)) {
            self.fault(
                format!("{here}/voice"),
                "a voice has a name of 1 to 64 characters",
                "use the carrier's name for it, such as Polly.Amy",
            );
        }
    }

    pub(super) fn within(&mut self, pointer: &str, value: u32, min: u32, max: u32) {
        if !(min..=max).contains(&value) {
            self.fault(
                pointer.to_owned(),
                format!("must be {min} to {max}, not {value}"),
                format!("write {}", value.clamp(min, max)),
            );
        }
    }
}

const BAD_NAME: &str = "not the name of a variable";
const FIX_NAME: &str =
    "letters, digits and _, not a digit first, at most 64; not digits, party or phone";
