//! What Telnyx carries for us and gives back with every event of a call: whose call it is. A
//! webhook's signature does not cover the address it was sent to; this binds the two.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use dialfleet_domain::id::{AttemptId, CarrierCallId, CarrierId};
use dialfleet_domain::phone::E164;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// `client_state`, before Base64: an attempt's leg, its numbers (lists of active calls have none),
/// and the number of the flow's input that its command follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    #[serde(rename = "a")]
    pub(super) attempt: AttemptId,
    #[serde(rename = "l")]
    pub(super) leg: u8,
    #[serde(rename = "t")]
    pub(super) to: E164,
    #[serde(rename = "f")]
    pub(super) from: E164,
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    pub(super) step: Option<u32>,
    /// Of the leg that a transfer makes: the call that it is for.
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    pub(super) of: Option<CarrierCallId>,
}

impl State {
    pub(super) fn encode(&self) -> String {
        let json = serde_json::to_vec(self).expect("a state has a JSON form: its keys are text");
        STANDARD.encode(json)
    }

    /// `None`: it is not ours.
    pub(super) fn decode(text: &str) -> Option<Self> {
        serde_json::from_slice(&STANDARD.decode(text).ok()?).ok()
    }

    /// Whether `url` is the callback address of this leg: `…/<attempt, base64url>/<leg>/<token>`.
    pub(super) fn belongs_to(&self, url: &str) -> bool {
        let path = url.split(['?', '#']).next().unwrap_or(url);
        let mut parts = path.rsplit('/').skip(1);
        let (leg, attempt) = (parts.next(), parts.next());
        attempt == Some(URL_SAFE_NO_PAD.encode(self.attempt.as_str()).as_str())
            && leg == Some(self.leg.to_string().as_str())
    }
}

/// A `command_id`: the same for the same command of the same carrier account, and for no other.
/// Written as a UUID, which is the form in Telnyx's own examples.
pub(super) fn command_id(carrier: &CarrierId, about: &str, what: &str) -> String {
    let mut hash = Sha256::new();
    for part in [carrier.as_str(), about, what] {
        // The length first, so that no two triples give the same bytes.
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let hex = hex::encode(hash.finalize());
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    let groups = [(0, 8), (8, 12), (12, 16), (16, 20), (20, 32)];
    groups.map(|(from, to)| part(from, to)).join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        State {
            attempt: AttemptId::parse("cmp_1:+15550100123:2").unwrap(),
            leg: 1,
            to: E164::parse("+15550100123", None).unwrap(),
            from: E164::parse("+15550109999", None).unwrap(),
            step: None,
            of: None,
        }
    }

    #[test]
    fn a_state_reads_back_and_nothing_else_does() {
        let mut state = state();
        assert_eq!(State::decode(&state.encode()), Some(state.clone()));
        state.step = Some(3);
        state.of = Some(CarrierCallId::parse("v3:one").unwrap());
        assert_eq!(State::decode(&state.encode()), Some(state));
        for other in ["", "aGF2ZSBhIG5pY2UgZGF5ID1d", "%%%", "e30="] {
            assert_eq!(State::decode(other), None, "{other}");
        }
    }

    #[test]
    fn a_state_belongs_to_its_own_address_only() {
        let url = |attempt: &str, leg: &str| {
            let attempt = URL_SAFE_NO_PAD.encode(attempt);
            format!("https://d.example/webhooks/telnyx/t1/{attempt}/{leg}/k.mac")
        };
        let state = state();
        let own = url("cmp_1:+15550100123:2", "1");
        assert!(state.belongs_to(&own));
        assert!(state.belongs_to(&format!("{own}?x=/y/z")));
        assert!(!state.belongs_to(&url("cmp_1:+15550100123:2", "0")));
        assert!(!state.belongs_to(&url("cmp_1:+15550100123:1", "1")));
        assert!(!state.belongs_to("https://d.example/"));
        assert!(!state.belongs_to(""));
    }

    #[test]
    fn a_command_has_its_own_id() {
        let carrier = CarrierId::parse("t1").unwrap();
        let id = command_id(&carrier, "a:b:1/0", "dial");
        assert_eq!(id, command_id(&carrier, "a:b:1/0", "dial"));
        assert_eq!(id.len(), 36);
        let other = CarrierId::parse("t2").unwrap();
        for another in [
            command_id(&other, "a:b:1/0", "dial"),
            command_id(&carrier, "a:b:1/1", "dial"),
            command_id(&carrier, "a:b:1/0", "step 0"),
            command_id(&carrier, "a:b:1/0d", "ial"),
        ] {
            assert_ne!(id, another);
        }
    }
}
