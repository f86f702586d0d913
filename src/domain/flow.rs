//! What happens on the call after the answer: a tree of steps that people write, and what is made
//! of it.
//!
//! * this file: the language, as it is written and stored; [`read`]: errors that say where;
//! * [`check`]: what the types cannot hold; [`text`]: templates and SSML; [`program`]: the tree as a
//!   flat list of instructions, so that where a call stands is one number;
//! * [`script`]: a flow for one lead; [`session`]: the interpreter, pure: an input in, [`action`]s out;
//! * [`sentence`]: what a call says by itself; [`ready`]: flows to begin with.
//!
//! Deliberately absent: loops and jumps. Every flow ends, whatever is pressed.

pub mod action;
pub mod check;
mod check_ask;
pub mod program;
pub mod read;
pub mod ready;
pub mod script;
pub mod sentence;
pub mod session;
pub mod text;
pub mod turn;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use action::{Action, Codec, Input, Keys, Target};
pub use check::Fault;
pub use program::Program;
pub use script::{Grain, Script};
pub use session::Session;
pub use turn::{Then, Turn};

/// Steps a flow may have at most, all blocks together.
pub const MAX_STEPS: usize = 100;
/// Blocks may be in blocks this deep.
pub const MAX_DEPTH: usize = 6;
/// Characters one text may have at most, as written.
pub const MAX_TEXT: usize = 1_500;
/// Characters all texts together may have.
pub const MAX_TEXTS: usize = 20_000;
/// Variables a flow may set, and defaults it may give.
pub const MAX_NAMES: usize = 32;
/// Seconds that waiting may take in all, in the worst case.
pub const MAX_WAITING_S: u64 = 3_600;

/// One thing done on the call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum Step {
    /// Speak a sentence. `{{ name }}` is the lead's variable of that name.
    Say {
        /// The words.
        text: String,
        /// BCP 47 language tag, such as `en-GB`; else the flow's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        language: Option<String>,
        /// The carrier's voice name; else the flow's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        voice: Option<String>,
        /// Whether the words are SSML (without `<speak>` around them).
        #[serde(default, skip_serializing_if = "is_false")]
        ssml: bool,
    },
    /// Play a recording.
    Play {
        /// Where it is: an https address.
        url: String,
    },
    /// Wait.
    Pause {
        /// Seconds, 1 to 60.
        seconds: u32,
    },
    /// Ask for digits.
    Gather {
        /// The variable that gets them, besides `digits`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        set: Option<String>,
        /// What is said while they may be pressed: say, play and pause.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        prompt: Vec<Step>,
        /// How many at most: 1 to 32.
        #[serde(default = "one")]
        max_digits: u8,
        /// How many at least; fewer count as none.
        #[serde(default = "one", skip_serializing_if = "is_one")]
        min_digits: u8,
        /// The key that ends them early: `#`, `*`, or empty for none.
        #[serde(default = "hash", skip_serializing_if = "is_hash")]
        finish_on: String,
        /// Seconds to wait for the next key: 1 to 60.
        #[serde(default = "five")]
        timeout_s: u32,
        /// How often it asks: 1 to 5.
        #[serde(default = "two")]
        tries: u8,
        /// What follows when nothing usable came; then the flow goes on.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        no_input: Vec<Step>,
    },
    /// Ask for one key, and go on by it.
    Menu {
        /// What is said while a key may be pressed: say, play and pause.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        prompt: Vec<Step>,
        /// What follows each key: `0` to `9`, `*`, `#`.
        options: BTreeMap<String, Vec<Step>>,
        /// The variable that gets the key, besides `digits`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        set: Option<String>,
        /// Seconds to wait for a key: 1 to 60.
        #[serde(default = "five")]
        timeout_s: u32,
        /// How often it asks, if there is no key or another one: 1 to 5.
        #[serde(default = "two")]
        tries: u8,
        /// What follows when no usable key came; then the flow goes on.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        no_input: Vec<Step>,
    },
    /// Give a variable a value.
    Set {
        /// Its name.
        var: String,
        /// The value, which may be a template.
        value: String,
    },
    /// Go on by a value.
    Branch {
        /// The value, a template: `{{ digits }}`, `{{ party }}`, `{{ country }}`.
        on: String,
        /// What follows each value; capital and small letters are the same.
        cases: BTreeMap<String, Vec<Step>>,
        /// What follows any other.
        #[serde(rename = "else", default, skip_serializing_if = "Vec::is_empty")]
        otherwise: Vec<Step>,
    },
    /// Begin to record, or stop.
    Record {
        /// Which.
        #[serde(default = "yes")]
        on: bool,
    },
    /// Connect the call's audio to a program, until one of them ends it.
    Stream {
        /// Its WebSocket: a wss address, without a query.
        url: String,
        /// How the audio is encoded.
        #[serde(default, skip_serializing_if = "crate::campaign::is_default")]
        codec: Codec,
        /// What it is told at the start; the values may be templates.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        params: BTreeMap<String, String>,
        /// How many calls the program takes at once: 1 to 1,000; as many as it gets if absent. The campaign
        /// has no more calls under way than that, so that nobody who answers waits for it. A program that
        /// several campaigns share is divided among them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        capacity: Option<u32>,
    },
    /// Connect the person to somebody else, and leave. If the other hangs up first the flow goes on.
    Transfer {
        /// To whom.
        to: Target,
        /// Which number the other sees.
        #[serde(default, skip_serializing_if = "crate::campaign::is_default")]
        caller_id: ShownNumber,
        /// Seconds it rings there: 5 to 120.
        #[serde(default = "thirty")]
        timeout_s: u32,
        /// What follows if nobody answers there.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        failed: Vec<Step>,
    },
    /// Leave the flow's voicemail, and end the call.
    Voicemail,
    /// Put the person on the do-not-call list, say so, and end the call.
    OptOut {
        /// What confirms it; a sentence in the flow's language by default.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        say: Option<String>,
    },
    /// End the call.
    Hangup,
}

/// Which number somebody sees to whom a person is connected.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ShownNumber {
    /// The number that called the person.
    #[default]
    Ours,
    /// The person's own. Not every carrier allows it.
    Theirs,
    /// Another one of ours, in E.164.
    Number(String),
}

/// What is left on an answering machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Voicemail {
    /// The message: say, play and pause.
    pub steps: Vec<Step>,
    /// The longest it may take, in seconds: 5 to 120. Texts that would take longer are refused, and
    /// the call ends then whatever is being played.
    #[serde(default = "thirty")]
    pub max_s: u32,
    /// How long it waits for the greeting to end, in seconds: 5 to 60.
    #[serde(default = "forty_five")]
    pub wait_s: u32,
}

/// The steps, in order. After the last one the call ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Flow {
    /// The steps.
    pub steps: Vec<Step>,
    /// The language of what is said, BCP 47; `en-US` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// The carrier's voice name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub voice: Option<String>,
    /// What is left on an answering machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub voicemail: Option<Voicemail>,
    /// Values of variables that a lead may lack or have empty.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub defaults: BTreeMap<String, String>,
}

impl Default for Flow {
    fn default() -> Self {
        Self::of(vec![
            Step::Say {
                text: "Hello. This call was placed by Dialfleet. Goodbye.".to_owned(),
                language: None,
                voice: None,
                ssml: false,
            },
            Step::Hangup,
        ])
    }
}

impl Flow {
    /// A flow of these steps, and nothing else.
    #[must_use]
    pub const fn of(steps: Vec<Step>) -> Self {
        Self {
            steps,
            language: None,
            voice: None,
            voicemail: None,
            defaults: BTreeMap::new(),
        }
    }

    /// Checks limits that the types cannot hold.
    ///
    /// # Errors
    /// What is wrong, and where; at most 20 faults.
    pub fn check(&self) -> Result<(), Vec<Fault>> {
        check::check(self)
    }

    /// Every step, those in blocks and of the voicemail included.
    pub fn each_step(&self, tell: &mut impl FnMut(&Step)) {
        fn each(steps: &[Step], tell: &mut impl FnMut(&Step)) {
            for step in steps {
                tell(step);
                for (_, block) in step.blocks() {
                    each(block, tell);
                }
            }
        }
        each(&self.steps, tell);
        if let Some(voicemail) = &self.voicemail {
            each(&voicemail.steps, tell);
        }
    }

    /// Every text that may be a template.
    #[must_use]
    pub fn templates(&self) -> Vec<&str> {
        fn each<'a>(steps: &'a [Step], texts: &mut Vec<&'a str>) {
            for step in steps {
                step.own_templates(texts);
                for (_, block) in step.blocks() {
                    each(block, texts);
                }
            }
        }
        let mut texts = Vec::new();
        each(&self.steps, &mut texts);
        if let Some(voicemail) = &self.voicemail {
            each(&voicemail.steps, &mut texts);
        }
        texts
    }

    /// Whether what it does depends on the lead.
    #[must_use]
    pub fn is_templated(&self) -> bool {
        self.templates().into_iter().any(text::is_template)
    }

    /// How many calls may be under way at once, so that whoever answers can be connected at once to
    /// each program of the flow; `None` if it does not matter.
    #[must_use]
    pub fn capacity(&self) -> Option<u32> {
        let mut least = None;
        self.each_step(&mut |step| {
            if let Step::Stream {
                capacity: Some(most),
                ..
            } = step
            {
                least = Some(least.map_or(*most, |least: u32| least.min(*most)));
            }
        });
        least
    }

    /// The variables that it sets itself.
    #[must_use]
    pub fn assigned(&self) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        self.each_step(&mut |step| match step {
            Step::Gather { set, .. } | Step::Menu { set, .. } => names.extend(set.clone()),
            Step::Set { var, .. } => {
                names.insert(var.clone());
            }
            Step::Say { .. }
            | Step::Play { .. }
            | Step::Pause { .. }
            | Step::Branch { .. }
            | Step::Record { .. }
            | Step::Stream { .. }
            | Step::Transfer { .. }
            | Step::Voicemail
            | Step::OptOut { .. }
            | Step::Hangup => {}
        });
        names
    }
}

impl Step {
    /// Its blocks, by their place in it.
    #[must_use]
    pub fn blocks(&self) -> Vec<(String, &[Self])> {
        let named = |name: &str, map: &'_ BTreeMap<String, Vec<Self>>| -> Vec<String> {
            let escaped = |key: &String| key.replace('~', "~0").replace('/', "~1");
            map.keys()
                .map(|key| format!("{name}/{}", escaped(key)))
                .collect()
        };
        match self {
            Self::Gather {
                prompt, no_input, ..
            } => vec![
                ("prompt".to_owned(), prompt.as_slice()),
                ("no_input".to_owned(), no_input.as_slice()),
            ],
            Self::Menu {
                prompt,
                options,
                no_input,
                ..
            } => {
                let mut all = vec![("prompt".to_owned(), prompt.as_slice())];
                let names = named("options", options);
                all.extend(names.into_iter().zip(options.values().map(Vec::as_slice)));
                all.push(("no_input".to_owned(), no_input.as_slice()));
                all
            }
            Self::Branch {
                cases, otherwise, ..
            } => {
                let names = named("cases", cases);
                let mut all: Vec<_> = names
                    .into_iter()
                    .zip(cases.values().map(Vec::as_slice))
                    .collect();
                all.push(("else".to_owned(), otherwise.as_slice()));
                all
            }
            Self::Transfer { failed, .. } => vec![("failed".to_owned(), failed.as_slice())],
            Self::Say { .. }
            | Self::Play { .. }
            | Self::Pause { .. }
            | Self::Set { .. }
            | Self::Record { .. }
            | Self::Stream { .. }
            | Self::Voicemail
            | Self::OptOut { .. }
            | Self::Hangup => Vec::new(),
        }
    }

    fn own_templates<'a>(&'a self, texts: &mut Vec<&'a str>) {
        match self {
            Self::Say { text, .. } => texts.push(text),
            Self::Play { url } => texts.push(url),
            Self::Set { value, .. } => texts.push(value),
            Self::Branch { on, .. } => texts.push(on),
            Self::Stream { params, .. } => texts.extend(params.values().map(String::as_str)),
            Self::Transfer { to, .. } => texts.push(to.address()),
            Self::OptOut { say } => texts.extend(say.as_deref()),
            Self::Pause { .. }
            | Self::Gather { .. }
            | Self::Menu { .. }
            | Self::Record { .. }
            | Self::Voicemail
            | Self::Hangup => {}
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
const fn is_false(value: &bool) -> bool {
    !*value
}
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
const fn is_one(value: &u8) -> bool {
    *value == 1
}
fn is_hash(value: &str) -> bool {
    value == "#"
}
const fn yes() -> bool {
    true
}
const fn one() -> u8 {
    1
}
const fn two() -> u8 {
    2
}
fn hash() -> String {
    "#".to_owned()
}
const fn five() -> u32 {
    5
}
const fn thirty() -> u32 {
    30
}
const fn forty_five() -> u32 {
    45
}
