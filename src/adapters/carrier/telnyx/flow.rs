//! What happens after the answer: the commands that follow one input of the flow, given when the
//! events of those before them have come. Telnyx ignores a command whose `command_id` it saw on that
//! call within 60 s, so what two processes command is heard once.

use dialfleet_domain::id::{CarrierCallId, CarrierId};
use dialfleet_engine::port::carrier::{CarrierError, StepRequest};
use serde_json::{Value, json};

use super::action::{STOPS, command_of, state};
use super::error::{Command, command};
use super::http::Api;
use super::state::command_id;

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
    let state = state(step, false).encode();
    let id = |what: &str| {
        let what = format!("step {}/{what}", step.step);
        command_id(carrier, step.call_id.as_str(), &what)
    };
    if step.interrupts {
        for name in STOPS {
            let body = json!({ "command_id": id(name) });
            match give(api, &step.call_id, name, &body).await {
                // Nothing was being heard.
                Ok(()) | Err(Failed::ForGood(_)) => {}
                Err(Failed::ForNow(error)) => return Err(error),
            }
        }
    }
    for (i, action) in step.page.actions.iter().enumerate() {
        let Some((name, mut body)) = command_of(action, step) else {
            return hang_up(api, carrier, &step.call_id).await;
        };
        body["client_state"] = json!(state);
        body["command_id"] = json!(id(&i.to_string()));
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
