//! Flows to begin with: `dialfleet flows list`. Their variables have defaults, so that each of them
//! can be tried as it is.

/// A flow that comes with the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ready {
    /// Its name.
    pub name: &'static str,
    /// What it is for.
    pub about: &'static str,
    /// The flow, as JSON.
    pub json: &'static str,
}

/// All of them.
pub const ALL: [Ready; 6] = [
    Ready {
        name: "message",
        about: "say something, offer the opt-out, leave it on machines too",
        json: include_str!("ready/message.json"),
    },
    Ready {
        name: "survey",
        about: "two questions by key press, and thanks",
        json: include_str!("ready/survey.json"),
    },
    Ready {
        name: "appointment",
        about: "confirm or move an appointment, or be connected",
        json: include_str!("ready/appointment.json"),
    },
    Ready {
        name: "press-1",
        about: "press 1 to be connected to somebody, 9 not to be called again",
        json: include_str!("ready/press-1.json"),
    },
    Ready {
        name: "ai-agent",
        about: "connect the audio to an agent's WebSocket",
        json: include_str!("ready/ai-agent.json"),
    },
    Ready {
        name: "voicemail-only",
        about: "leave a message on machines, and hang up on people politely",
        json: include_str!("ready/voicemail-only.json"),
    },
];

/// The one of that name.
#[must_use]
pub fn named(name: &str) -> Option<&'static Ready> {
    ALL.iter().find(|ready| ready.name == name)
}
