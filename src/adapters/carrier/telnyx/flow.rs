//! What happens after the answer: one command for each step, given when the one before it has
//! ended. Telnyx ignores a command whose `command_id` it saw on that call within 60 s, so a step that
//! two processes command is heard once.

use dialfleet_domain::flow::Action;
use dialfleet_domain::id::{CarrierCallId, CarrierId};
use dialfleet_engine::port::carrier::{CarrierError, StepRequest};
use serde_json::{Value, json};

use super::error::{Command, command};
use super::http::Api;
use super::state::{State, command_id};

/// The languages that a voice without a name speaks, by Telnyx's description of `speak`.
const LANGUAGES: [&str; 29] = [
    "arb",
    "cmn-CN",
    "cy-GB",
    "da-DK",
    "de-DE",
    "en-US",
    "en-AU",
    "en-GB",
    "en-GB-WLS",
    "en-IN",
    "es-ES",
    "es-MX",
    "es-US",
    "fr-FR",
    "fr-CA",
    "hi-IN",
    "is-IS",
    "it-IT",
    "ja-JP",
    "ko-KR",
    "nb-NO",
    "nl-NL",
    "pl-PL",
    "pt-PT",
    "pt-BR",
    "ro-RO",
    "ru-RU",
    "sv-SE",
    "tr-TR",
];

/// Ends a call.
pub(super) async fn hang_up(
    api: &Api,
    carrier: &CarrierId,
    call: &CarrierCallId,
) -> Result<(), CarrierError> {
    let body = json!({ "command_id": command_id(carrier, call.as_str(), "hangup") });
    give(api, call, "hangup", &body)
        .await
        .map_err(Failed::error)
}

/// Commands what follows an input, in order. What Telnyx will never do ends the call: nobody shall
/// listen to silence.
pub(super) async fn perform(
    api: &Api,
    carrier: &CarrierId,
    step: &StepRequest,
) -> Result<(), CarrierError> {
    let state = State {
        attempt: step.attempt.clone(),
        leg: step.leg,
        to: step.to.clone(),
        from: step.from.clone(),
        step: Some(step.step),
    };
    for (i, action) in step.page.actions.iter().enumerate() {
        let Some((name, mut body)) = command_of(action) else {
            return hang_up(api, carrier, &step.call_id).await;
        };
        body["client_state"] = json!(state.encode());
        let what = format!("step {}/{i}", step.step);
        body["command_id"] = json!(command_id(carrier, step.call_id.as_str(), &what));
        match give(api, &step.call_id, name, &body).await {
            Ok(()) => {}
            Err(Failed::ForNow(error)) => return Err(error),
            Err(Failed::ForGood(error)) => {
                tracing::error!(%error, attempt = %step.attempt, call = %step.call_id, step = step.step, "Telnyx refuses a step of the flow: hanging up");
                return hang_up(api, carrier, &step.call_id).await;
            }
        }
    }
    Ok(())
}

/// The command of an action; `None` for the end of the call.
fn command_of(action: &Action) -> Option<(&'static str, Value)> {
    match action {
        Action::Say(saying) => {
            let kind = if saying.ssml { "ssml" } else { "text" };
            let mut body = json!({"payload": saying.text, "payload_type": kind});
            if saying.ssml {
                body["payload"] = json!(format!("<speak>{}</speak>", saying.text));
            }
            match saying.voice.as_deref().and_then(named) {
                Some(voice) => body["voice"] = json!(voice),
                None => {
                    body["voice"] = json!("female");
                    let language = saying.language.as_deref().unwrap_or("en-US");
                    body["language"] = json!(spoken(language));
                }
            }
            Some(("speak", body))
        }
        // There is no command to wait; listening for keys that end nothing is one.
        Action::Pause { seconds } => {
            let millis = u64::from(*seconds) * 1_000;
            let body = json!({"timeout_millis": millis, "initial_timeout_millis": millis});
            Some(("gather", body))
        }
        // Calls that need these are not routed here: see the capabilities.
        Action::Play { .. }
        | Action::Gather { .. }
        | Action::Record { .. }
        | Action::Stream { .. }
        | Action::Transfer { .. }
        | Action::Hangup => None,
    }
}

/// A voice by its name there: `Provider.Model.Id`. A flow made for another carrier may name
/// `Polly.Amy`, which is Amazon's here, or a voice that Telnyx does not have.
fn named(voice: &str) -> Option<String> {
    let (provider, _) = voice.split_once('.')?;
    Some(if provider == "Polly" {
        format!("AWS.{voice}")
    } else {
        voice.to_owned()
    })
}

/// The published tag for a language tag: the same, else the first of the same language.
fn spoken(tag: &str) -> &'static str {
    let main = |tag: &str| tag.split('-').next().unwrap_or(tag).to_ascii_lowercase();
    let wanted = match main(tag).as_str() {
        "ar" => "arb".to_owned(),
        "zh" => "cmn".to_owned(),
        "no" => "nb".to_owned(),
        other => other.to_owned(),
    };
    let same = LANGUAGES.iter().find(|l| l.eq_ignore_ascii_case(tag));
    let alike = || LANGUAGES.iter().find(|l| main(l) == wanted);
    same.or_else(alike).copied().unwrap_or("en-US")
}

/// Why a command was not taken.
enum Failed {
    /// It may be given again.
    ForNow(CarrierError),
    /// It would be refused again.
    ForGood(CarrierError),
}

impl Failed {
    fn error(self) -> CarrierError {
        match self {
            Self::ForNow(error) | Self::ForGood(error) => error,
        }
    }
}

async fn give(api: &Api, call: &CarrierCallId, name: &str, body: &Value) -> Result<(), Failed> {
    let path = ["calls", call.as_str(), "actions", name];
    let answer = api.command(&path, body).await.map_err(Failed::ForNow)?;
    match command(answer.status, answer.errors().as_ref()) {
        Command::Taken => Ok(()),
        Command::CallEnded => Err(Failed::ForNow(CarrierError::AlreadyEnded)),
        Command::NoCall => Err(Failed::ForNow(CarrierError::NotFound)),
        Command::Later => Err(Failed::ForNow(api.refused(&answer))),
        Command::Never => Err(Failed::ForGood(api.refused(&answer))),
    }
}

#[cfg(test)]
mod tests {
    use dialfleet_domain::flow::action::Saying;

    use super::*;

    fn say(language: Option<&str>, voice: Option<&str>) -> Value {
        let action = Action::Say(Saying {
            text: "Good morning".to_owned(),
            language: language.map(str::to_owned),
            voice: voice.map(str::to_owned),
            ssml: false,
        });
        let (name, body) = command_of(&action).unwrap();
        assert_eq!(name, "speak");
        assert_eq!(body["payload"], "Good morning");
        body
    }

    #[test]
    fn every_step_has_its_command() {
        let body = say(None, None);
        assert_eq!(
            (&body["voice"], &body["language"]),
            (&json!("female"), &json!("en-US"))
        );
        let pause = command_of(&Action::Pause { seconds: 3 }).unwrap();
        let millis = json!({"timeout_millis": 3_000, "initial_timeout_millis": 3_000});
        assert_eq!(pause, ("gather", millis));
        assert_eq!(command_of(&Action::Hangup), None);
    }

    #[test]
    fn voices_and_languages_are_ones_that_telnyx_has() {
        let table = [
            (Some("en-GB"), None, json!("female"), json!("en-GB")),
            (Some("EN-gb"), None, json!("female"), json!("en-GB")),
            (Some("fr"), None, json!("female"), json!("fr-FR")),
            (Some("fr-BE"), None, json!("female"), json!("fr-FR")),
            (Some("ar-EG"), None, json!("female"), json!("arb")),
            (Some("zh-TW"), None, json!("female"), json!("cmn-CN")),
            (Some("no"), None, json!("female"), json!("nb-NO")),
            (Some("sw-KE"), None, json!("female"), json!("en-US")),
            (
                Some("en-GB"),
                Some("alice"),
                json!("female"),
                json!("en-GB"),
            ),
            (None, Some("Polly.Amy"), json!("AWS.Polly.Amy"), Value::Null),
            (
                None,
                Some("AWS.Polly.Amy"),
                json!("AWS.Polly.Amy"),
                Value::Null,
            ),
            (
                Some("en-GB"),
                Some("Azure.en-GB-X"),
                json!("Azure.en-GB-X"),
                Value::Null,
            ),
        ];
        for (language, voice, said, spoken) in table {
            let body = say(language, voice);
            assert_eq!(
                (&body["voice"], &body["language"]),
                (&said, &spoken),
                "{language:?} {voice:?}"
            );
        }
    }
}
