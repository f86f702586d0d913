//! Session tokens: shaped like the real ones (a JWT, and a date without a time zone).

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;

use super::wire::{ApiError, read};
use super::{Front, Fronts};
use crate::dice::Dice;

/// The exchange's clock is Indian: 5 h 30 min ahead of UTC.
const IST: Duration = Duration::from_secs(19_800);

#[derive(Deserialize)]
struct Keys {
    access_key: String,
}

pub(super) async fn issue(
    State(fronts): State<Fronts>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    let keys: Keys = read(&body)?;
    let given = headers.get("accesstoken").map(|value| value.as_bytes());
    let known = |front: &&std::sync::Arc<Front>| {
        given == Some(front.account.access_token.as_bytes())
            && keys.access_key == front.account.access_key
    };
    let front = fronts.0.iter().find(known);
    let front = front.ok_or_else(|| ApiError::new(401, "Invalid access_key"))?;
    if front.office.read_fails(&front.account.name, "gentoken") {
        return Err(ApiError::internal());
    }
    Ok(Json(front.issue()))
}

impl Front {
    fn issue(&self) -> Value {
        let now = self.office.now();
        let expires = now + self.account.token_lifetime;
        let seconds = |at: dialfleet_domain::time::Timestamp| at.millis().div_euclid(1_000);
        let mut state = self.state();
        state.issued += 1;
        let nth = state.issued;
        let claims = json!({ "iat": seconds(now), "exp": seconds(expires), "jti": nth });
        // Nobody verifies it: what counts is that it cannot be guessed and is never given twice.
        let dice = Dice::new(self.office.network.seed());
        let signature = dice.roll("sanspbx-token", &self.account.access_key, nth);
        let token = format!(
            "{}.{}.{}",
            URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#),
            URL_SAFE_NO_PAD.encode(claims.to_string()),
            URL_SAFE_NO_PAD.encode(signature.to_be_bytes()),
        );
        state.tokens.retain(|_, expires| *expires > now);
        state.tokens.insert(token.clone(), expires);
        let expiry_time = (expires + IST).to_utc().format("%Y-%m-%d %H:%M:%S");
        json!({ "status": "success", "Apitoken": token, "expiry_time": expiry_time.to_string() })
    }

    /// Whether `token` is one of ours, and still good.
    pub(super) fn accepts(&self, token: &str) -> bool {
        let expires = self.state().tokens.get(token).copied();
        expires.is_some_and(|expires| expires > self.office.now())
    }
}
