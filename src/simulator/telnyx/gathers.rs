//! The commands that listen for keys.

use std::time::Duration;

use serde::Deserialize;

use super::actions::{Command, Ids};
use super::commands::{PayloadType, file, ids, invalid, spoken};
use super::conversation::{Gather, Order, Prompt};
use super::wire::ApiError;

/// What listens for keys, whatever is heard meanwhile.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct GatherCommand {
    minimum_digits: usize,
    maximum_digits: usize,
    maximum_tries: u32,
    timeout_millis: u64,
    initial_timeout_millis: Option<u64>,
    inter_digit_timeout_millis: u64,
    terminating_digit: String,
    valid_digits: String,
    payload: Option<String>,
    invalid_payload: Option<String>,
    payload_type: PayloadType,
    voice: Option<String>,
    language: Option<String>,
    audio_url: Option<String>,
    invalid_audio_url: Option<String>,
    client_state: Option<String>,
    command_id: Option<String>,
}

impl Default for GatherCommand {
    fn default() -> Self {
        Self {
            minimum_digits: 1,
            maximum_digits: 128,
            maximum_tries: 3,
            timeout_millis: 60_000,
            initial_timeout_millis: None,
            inter_digit_timeout_millis: 5_000,
            terminating_digit: "#".to_owned(),
            valid_digits: "0123456789#*".to_owned(),
            payload: None,
            invalid_payload: None,
            payload_type: PayloadType::Text,
            voice: None,
            language: None,
            audio_url: None,
            invalid_audio_url: None,
            client_state: None,
            command_id: None,
        }
    }
}

impl GatherCommand {
    fn split(
        self,
        prompt: Option<Prompt>,
        again: Option<Prompt>,
        tries: u32,
    ) -> Result<(Ids, Order), ApiError> {
        if !(1..=128).contains(&self.maximum_digits)
            || !(1..=self.maximum_digits).contains(&self.minimum_digits)
        {
            return Err(invalid(
                "/maximum_digits",
                "must be 1 to 128, and not less than the minimum",
            ));
        }
        if !(1..=128).contains(&tries) {
            return Err(invalid("/maximum_tries", "must be 1 to 128"));
        }
        let keys = |text: &str| text.chars().all(|c| c.is_ascii_digit() || "#*".contains(c));
        if !keys(&self.valid_digits) || self.valid_digits.is_empty() {
            return Err(invalid("/valid_digits", "must be of 0-9, # and *"));
        }
        if !keys(&self.terminating_digit) || self.terminating_digit.len() > 1 {
            return Err(invalid("/terminating_digit", "must be one of 0-9, # and *"));
        }
        let first = self.initial_timeout_millis.unwrap_or(self.timeout_millis);
        let gather = Gather {
            prompt,
            again,
            tries,
            digits: (self.minimum_digits, self.maximum_digits),
            first: Duration::from_millis(first.min(self.timeout_millis)),
            between: Duration::from_millis(self.inter_digit_timeout_millis),
            finish_on: self.terminating_digit.clone(),
            valid: self.valid_digits.clone(),
        };
        Ok((ids!(self), Order::Gather(gather)))
    }
}

/// Without a prompt.
#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct GatherOnly(GatherCommand);

impl Command for GatherOnly {
    const NAME: &'static str = "gather";

    fn split(self) -> Result<(Ids, Order), ApiError> {
        let mut command = self.0;
        if command.payload.is_some() || command.audio_url.is_some() || command.voice.is_some() {
            return Err(invalid("/payload", "is not of this command"));
        }
        command.initial_timeout_millis.get_or_insert(5_000);
        command.split(None, None, 1)
    }
}

#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct GatherUsingSpeak(GatherCommand);

impl Command for GatherUsingSpeak {
    const NAME: &'static str = "gather_using_speak";

    fn split(self) -> Result<(Ids, Order), ApiError> {
        let command = self.0;
        let voice = command.voice.as_deref().unwrap_or_default();
        let language = command.language.as_deref();
        let words = |payload: &str| {
            let text = spoken(payload, command.payload_type, voice, language)?;
            Ok(Prompt::Said(text))
        };
        if command.initial_timeout_millis.is_some() || command.audio_url.is_some() {
            return Err(invalid("/initial_timeout_millis", "is not of this command"));
        }
        let prompt = words(command.payload.as_deref().unwrap_or_default())?;
        let again = command.invalid_payload.as_deref().map(words).transpose()?;
        let tries = command.maximum_tries;
        command.split(Some(prompt), again, tries)
    }
}

#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct GatherUsingAudio(GatherCommand);

impl Command for GatherUsingAudio {
    const NAME: &'static str = "gather_using_audio";

    fn split(self) -> Result<(Ids, Order), ApiError> {
        let mut command = self.0;
        if command.initial_timeout_millis.is_some() || command.payload.is_some() {
            return Err(invalid("/initial_timeout_millis", "is not of this command"));
        }
        let prompt = Prompt::Played(file(command.audio_url.take())?);
        let again = match command.invalid_audio_url.take() {
            None => None,
            url => Some(Prompt::Played(file(url)?)),
        };
        let tries = command.maximum_tries;
        command.split(Some(prompt), again, tries)
    }
}
