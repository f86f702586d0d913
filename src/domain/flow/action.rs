//! What a call is told to do, and what comes back: the seam between the interpreter and the
//! carriers' dialects.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::phone::E164;

/// Characters a rendered sentence may have: what every carrier speaks in one go. Telnyx, which takes least, takes
/// 3,000 with the tags that make SSML of it.
pub const MAX_SAID: usize = 2_980;
/// Keys that one answer may have.
pub const MAX_KEYS: usize = 32;

/// One thing to do on a call, with nothing left to fill in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Action {
    /// Speak.
    Say(Saying),
    /// Play a recording.
    Play {
        /// Where it is.
        url: String,
    },
    /// Be silent.
    Pause {
        /// For so long.
        seconds: u32,
    },
    /// Take keys while the prompt is heard, and after it.
    Gather {
        /// Say, play and pause only. One at most for a carrier that is told one thing at a time.
        prompt: Vec<Action>,
        /// How many at most.
        max_digits: u8,
        /// The key that ends them early, and is not one of them.
        finish_on: Option<char>,
        /// Seconds to wait for the next key, counted from the end of the prompt.
        timeout_s: u32,
        /// Of them, the keys that mean "do not call me again": if nothing else can be known, this is.
        opt_out: Vec<char>,
    },
    /// Begin to record, or stop. Takes no time.
    Record {
        /// Which.
        on: bool,
    },
    /// Connect the audio to a program.
    Stream {
        /// Its WebSocket.
        url: String,
        /// The encoding.
        codec: Codec,
        /// What it is told at the start.
        params: BTreeMap<String, String>,
    },
    /// Connect the person to somebody else.
    Transfer {
        /// To whom.
        to: Target,
        /// The number shown there; `None` for the one that called the person.
        caller_id: Option<E164>,
        /// Seconds it rings.
        timeout_s: u32,
    },
    /// End the call.
    Hangup,
}

/// Something to speak.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Saying {
    /// The words: at most [`MAX_SAID`] characters; well-formed SSML if `ssml`.
    pub text: String,
    /// BCP 47 language tag.
    pub language: Option<String>,
    /// The carrier's voice name.
    pub voice: Option<String>,
    /// Whether the words are SSML.
    pub ssml: bool,
}

impl Action {
    /// Whether it is over as soon as it is begun.
    #[must_use]
    pub const fn is_instant(&self) -> bool {
        matches!(self, Self::Record { .. })
    }
}

/// How streamed audio is encoded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Codec {
    /// G.711 µ-law, 8 kHz: what every carrier has.
    #[default]
    Pcmu,
    /// G.711 A-law, 8 kHz.
    Pcma,
    /// Linear, 16 bit, 16 kHz.
    L16,
}

/// Whom a person is connected to. The text may be a template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// A telephone, in E.164.
    Number(String),
    /// A SIP address: `sip:desk@example.com`.
    Sip(String),
    /// A queue of agents at the carrier, by its name there.
    Queue(String),
}

impl Target {
    /// The text in it.
    #[must_use]
    pub const fn address(&self) -> &str {
        match self {
            Self::Number(text) | Self::Sip(text) | Self::Queue(text) => text.as_str(),
        }
    }

    /// The same kind with another text, if that is one.
    pub(super) fn with(&self, text: String) -> Option<Self> {
        let plain = |text: &str| {
            (1..=200).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
        };
        Some(match self {
            Self::Number(_) => Self::Number(E164::parse(&text, None).ok()?.as_str().to_owned()),
            Self::Sip(_) => {
                let rest = text
                    .strip_prefix("sip:")
                    .or_else(|| text.strip_prefix("sips:"))?;
                let (user, host) = rest.split_once('@')?;
                if !plain(rest) || user.is_empty() || host.is_empty() {
                    return None;
                }
                Self::Sip(text)
            }
            Self::Queue(_) => {
                let named = (1..=64).contains(&text.chars().count());
                if !named || text.chars().any(char::is_control) {
                    return None;
                }
                Self::Queue(text)
            }
        })
    }
}

/// Keys that were pressed: at most [`MAX_KEYS`] of `0` to `9`, `*`, `#`, `A` to `D`.
#[derive(Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Keys {
    len: u8,
    keys: [u8; MAX_KEYS],
}

impl Keys {
    /// Reads keys; `None` if they cannot have been pressed.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut all = Self::default();
        for (i, key) in text.bytes().enumerate() {
            if !matches!(key, b'0'..=b'9' | b'*' | b'#' | b'A'..=b'D') {
                return None;
            }
            *all.keys.get_mut(i)? = key;
            all.len += 1;
        }
        Some(all)
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let pressed = self.keys.get(..usize::from(self.len)).unwrap_or_default();
        std::str::from_utf8(pressed).unwrap_or_default()
    }
}

impl fmt::Debug for Keys {
    /// Keys may be a card's or a PIN: how many, and not which.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({})", self.len)
    }
}

impl TryFrom<String> for Keys {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or("keys are at most 32 of 0-9, *, #, A-D")
    }
}

impl From<Keys> for String {
    fn from(keys: Keys) -> Self {
        keys.as_str().to_owned()
    }
}

impl JsonSchema for Keys {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Keys".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^[0-9*#A-D]{0,32}$" })
    }
}

/// What comes back from a call: what moves its flow on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Input {
    /// What it was told to do is done; at the beginning: the call is answered.
    #[default]
    Done,
    /// It could not be done.
    Failed,
    /// These keys were pressed; none in time, if empty.
    Keys {
        /// Which.
        keys: Keys,
    },
    /// The transfer is over: it was connected, or nobody answered.
    Transferred {
        /// Which.
        connected: bool,
    },
    /// A machine answered, and the message shall be left.
    Machine {
        /// Its greeting is over.
        greeting_over: bool,
    },
    /// It was a person after all: begin again.
    Human,
    /// The entry in the do-not-call list was written, or could not be.
    OptedOut {
        /// Which.
        written: bool,
    },
}

impl Input {
    /// The keys, if it is about keys.
    #[must_use]
    pub const fn keys(&self) -> Option<&Keys> {
        if let Self::Keys { keys } = self {
            Some(keys)
        } else {
            None
        }
    }

    /// Whether keys were pressed.
    #[must_use]
    pub fn has_keys(&self) -> bool {
        self.keys().is_some_and(|keys| !keys.as_str().is_empty())
    }
}
