//! A flow as a flat list of instructions: where a call stands in it is one number.

use std::collections::BTreeMap;

use super::{Codec, Flow, ShownNumber, Step, Target};

/// A place in a program.
pub type Pc = u32;

/// One instruction. Texts are templates still.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Speak, play or wait.
    Sound(Sound),
    /// Take keys: enough of them, or go to `none` after `tries`.
    Gather {
        /// What is heard meanwhile.
        prompt: Vec<Sound>,
        /// The variable that gets the keys.
        set: Option<String>,
        /// At most.
        max: u8,
        /// At least.
        min: u8,
        /// Ends them early.
        finish_on: Option<char>,
        /// Seconds.
        timeout_s: u32,
        /// How often it asks.
        tries: u8,
        /// Of a menu: where each key leads. Another one is as good as none.
        options: Option<BTreeMap<String, Pc>>,
        /// The keys that lead straight to an opt-out.
        opt_out: Vec<char>,
        /// Where it goes on with keys.
        then: Pc,
        /// Where it goes on without.
        none: Pc,
    },
    /// Set a variable.
    Set {
        /// Which.
        var: String,
        /// To what.
        value: String,
    },
    /// Go on by a value.
    Branch {
        /// The value.
        on: String,
        /// By value in small letters.
        cases: BTreeMap<String, Pc>,
        /// Otherwise.
        otherwise: Pc,
    },
    /// Begin to record, or stop.
    Record {
        /// Which.
        on: bool,
    },
    /// Connect a program.
    Stream {
        /// Where.
        url: String,
        /// How.
        codec: Codec,
        /// With what.
        params: BTreeMap<String, String>,
    },
    /// Connect somebody.
    Transfer {
        /// Whom.
        to: Target,
        /// Seen from where.
        caller_id: ShownNumber,
        /// Seconds.
        timeout_s: u32,
        /// Where it goes on when nobody answered.
        failed: Pc,
        /// Where it goes on when the other hung up first.
        then: Pc,
    },
    /// Write the do-not-call entry; then say so.
    OptOut {
        /// What is said.
        say: Option<String>,
    },
    /// Wait until the machine's greeting is over.
    AwaitGreeting {
        /// So long at most.
        wait_s: u32,
    },
    /// The message was played to its end.
    MessageLeft,
    /// Go on elsewhere.
    Jump(Pc),
    /// End the call.
    Hangup,
}

/// Something that is heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sound {
    /// Speech.
    Say {
        /// The words.
        text: String,
        /// The language tag.
        language: Option<String>,
        /// The voice.
        voice: Option<String>,
        /// Whether the words are SSML.
        ssml: bool,
    },
    /// A recording.
    Play {
        /// Where it is.
        url: String,
    },
    /// Silence.
    Pause {
        /// For so long.
        seconds: u32,
    },
}

/// A compiled flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    pub(super) ops: Vec<Op>,
    /// Where the voicemail begins (with the wait for the greeting's end), and where it ends.
    pub(super) voicemail: Option<(Pc, Pc)>,
    /// The longest that the message may take.
    pub(super) message_s: u32,
    pub(super) language: Option<String>,
    pub(super) defaults: BTreeMap<String, String>,
    pub(super) assigned: Vec<String>,
}

impl Program {
    /// Compiles a flow that was checked. Of another one it makes something that ends, too.
    #[must_use]
    pub fn of(flow: &Flow) -> Self {
        let mut compiler = Compiler {
            flow,
            ops: Vec::new(),
        };
        compiler.block(&flow.steps);
        compiler.ops.push(Op::Hangup);
        let voicemail = flow.voicemail.as_ref().map(|voicemail| {
            let from = compiler.here();
            compiler.ops.push(Op::AwaitGreeting {
                wait_s: voicemail.wait_s,
            });
            let message: Vec<Op> = compiler
                .prompt(&voicemail.steps)
                .into_iter()
                .map(Op::Sound)
                .collect();
            compiler.ops.extend(message);
            compiler.ops.push(Op::MessageLeft);
            compiler.ops.push(Op::Hangup);
            (from, compiler.here())
        });
        let mut ops = compiler.ops;
        // Where the voicemail is was not known when the steps were compiled.
        for op in &mut ops {
            if *op == Op::Jump(Pc::MAX) {
                *op = voicemail.map_or(Op::Hangup, |(from, _)| Op::Jump(from));
            }
        }
        Self {
            ops,
            voicemail,
            message_s: flow.voicemail.as_ref().map_or(0, |v| v.max_s),
            language: flow.language.clone(),
            defaults: flow.defaults.clone(),
            assigned: flow.assigned().into_iter().collect(),
        }
    }

    /// Its instructions.
    #[must_use]
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }

    /// Whether it needs to hear nothing of the call to be done to its end: it may be sent as a whole.
    #[must_use]
    pub fn is_straight(&self) -> bool {
        let main = self.voicemail.map_or(self.ops.len(), |(from, _)| {
            usize::try_from(from).unwrap_or(usize::MAX)
        });
        self.ops.iter().take(main).all(|op| match op {
            Op::Sound(_) | Op::Set { .. } | Op::Record { .. } | Op::Hangup => true,
            Op::Jump(to) => self.voicemail.is_none_or(|(from, _)| *to != from),
            Op::Gather { .. }
            | Op::Branch { .. }
            | Op::Stream { .. }
            | Op::Transfer { .. }
            | Op::OptOut { .. }
            | Op::AwaitGreeting { .. }
            | Op::MessageLeft => false,
        })
    }

    /// Whether a message can be left.
    #[must_use]
    pub const fn has_voicemail(&self) -> bool {
        self.voicemail.is_some()
    }

    /// The longest that its message may take, the wait for the greeting's end included, in seconds.
    #[must_use]
    pub fn longest_message_s(&self) -> u32 {
        let wait = self.ops.iter().find_map(|op| {
            if let Op::AwaitGreeting { wait_s } = op {
                Some(*wait_s)
            } else {
                None
            }
        });
        self.message_s + wait.unwrap_or(0)
    }

    pub(super) fn op(&self, pc: Pc) -> &Op {
        usize::try_from(pc)
            .ok()
            .and_then(|i| self.ops.get(i))
            .unwrap_or(&Op::Hangup)
    }
}

struct Compiler<'a> {
    flow: &'a Flow,
    ops: Vec<Op>,
}

impl Compiler<'_> {
    fn here(&self) -> Pc {
        Pc::try_from(self.ops.len()).unwrap_or(Pc::MAX)
    }

    fn block(&mut self, steps: &[Step]) {
        for step in steps {
            self.step(step);
        }
    }

    /// Compiles a block that goes on at the end of the whole step; returns where it begins, and notes
    /// the jump to be aimed.
    fn arm(&mut self, steps: &[Step], ends: &mut Vec<usize>) -> Pc {
        let from = self.here();
        self.block(steps);
        ends.push(self.ops.len());
        self.ops.push(Op::Hangup);
        from
    }

    fn aim(&mut self, ends: &[usize]) -> Pc {
        let here = self.here();
        for end in ends {
            self.ops[*end] = Op::Jump(here);
        }
        here
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Say { .. } | Step::Play { .. } | Step::Pause { .. } => {
                let sounds = self.prompt(std::slice::from_ref(step));
                self.ops.extend(sounds.into_iter().map(Op::Sound));
            }
            Step::Gather { .. } => self.gather(step),
            Step::Menu { .. } => self.menu(step),
            Step::Set { var, value } => self.ops.push(Op::Set {
                var: var.clone(),
                value: value.clone(),
            }),
            Step::Branch { .. } => self.branch(step),
            Step::Record { on } => self.ops.push(Op::Record { on: *on }),
            Step::Stream {
                url, codec, params, ..
            } => self.ops.push(Op::Stream {
                url: url.clone(),
                codec: *codec,
                params: params.clone(),
            }),
            Step::Transfer {
                to,
                caller_id,
                timeout_s,
                failed,
            } => {
                let at = self.ops.len();
                self.ops.push(Op::Hangup);
                let otherwise = self.here();
                self.block(failed);
                let then = self.here();
                self.ops[at] = Op::Transfer {
                    to: to.clone(),
                    caller_id: caller_id.clone(),
                    timeout_s: *timeout_s,
                    failed: otherwise,
                    then,
                };
            }
            Step::Voicemail => self.ops.push(Op::Jump(Pc::MAX)),
            Step::OptOut { say } => {
                self.ops.push(Op::OptOut { say: say.clone() });
                self.ops.push(Op::Hangup);
            }
            Step::Hangup => self.ops.push(Op::Hangup),
        }
    }

    fn gather(&mut self, step: &Step) {
        let Step::Gather {
            set,
            prompt,
            max_digits,
            min_digits,
            finish_on,
            timeout_s,
            tries,
            no_input,
        } = step
        else {
            return;
        };
        let at = self.ops.len();
        self.ops.push(Op::Hangup);
        let none = self.here();
        self.block(no_input);
        let then = self.here();
        self.ops[at] = Op::Gather {
            prompt: self.prompt(prompt),
            set: set.clone(),
            max: *max_digits,
            min: *min_digits,
            finish_on: finish_on.chars().next(),
            timeout_s: *timeout_s,
            tries: *tries,
            options: None,
            opt_out: Vec::new(),
            then,
            none,
        };
    }

    fn menu(&mut self, step: &Step) {
        let Step::Menu {
            prompt,
            options,
            set,
            timeout_s,
            tries,
            no_input,
        } = step
        else {
            return;
        };
        let at = self.ops.len();
        self.ops.push(Op::Hangup);
        let mut ends = Vec::new();
        let mut ways = BTreeMap::new();
        for (key, steps) in options {
            ways.insert(key.clone(), self.arm(steps, &mut ends));
        }
        let none = self.here();
        self.block(no_input);
        let then = self.aim(&ends);
        let leaves = |(key, steps): (&String, &Vec<Step>)| {
            matches!(steps.first(), Some(Step::OptOut { .. })).then(|| key.chars().next())?
        };
        self.ops[at] = Op::Gather {
            prompt: self.prompt(prompt),
            set: set.clone(),
            max: 1,
            min: 1,
            finish_on: None,
            timeout_s: *timeout_s,
            tries: *tries,
            opt_out: options.iter().filter_map(leaves).collect(),
            options: Some(ways),
            then,
            none,
        };
    }

    fn branch(&mut self, step: &Step) {
        let Step::Branch {
            on,
            cases,
            otherwise,
        } = step
        else {
            return;
        };
        let at = self.ops.len();
        self.ops.push(Op::Hangup);
        let mut ends = Vec::new();
        let mut ways = BTreeMap::new();
        for (value, steps) in cases {
            ways.insert(value.trim().to_lowercase(), self.arm(steps, &mut ends));
        }
        let other = self.here();
        self.block(otherwise);
        self.aim(&ends);
        self.ops[at] = Op::Branch {
            on: on.clone(),
            cases: ways,
            otherwise: other,
        };
    }

    fn prompt(&self, steps: &[Step]) -> Vec<Sound> {
        let sound = |step: &Step| match step {
            Step::Say {
                text,
                language,
                voice,
                ssml,
            } => Some(Sound::Say {
                text: text.clone(),
                language: language.clone().or_else(|| self.flow.language.clone()),
                // A voice of its own for another language: the flow's would not speak it.
                voice: voice.clone().or_else(|| {
                    let same = language.is_none() || *language == self.flow.language;
                    self.flow.voice.clone().filter(|_| same)
                }),
                ssml: *ssml,
            }),
            Step::Play { url } => Some(Sound::Play { url: url.clone() }),
            Step::Pause { seconds } => Some(Sound::Pause { seconds: *seconds }),
            Step::Gather { .. }
            | Step::Menu { .. }
            | Step::Set { .. }
            | Step::Branch { .. }
            | Step::Record { .. }
            | Step::Stream { .. }
            | Step::Transfer { .. }
            | Step::Voicemail
            | Step::OptOut { .. }
            | Step::Hangup => None,
        };
        steps.iter().filter_map(sound).collect()
    }
}
