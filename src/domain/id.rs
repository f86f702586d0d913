//! One registry of every identifier. An id is a type, so a campaign id cannot be given where a lead
//! id is asked for; prefixes make them readable and, where we make them, time-ordered.

use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::{Deserialize, Deserializer, Error as _};
use thiserror::Error;

use crate::time::Timestamp;

/// Longest id we accept from outside, in bytes. It bounds index keys and callback URLs.
pub const MAX_ID_LEN: usize = 200;
/// Longest customer reference of a lead, in bytes.
pub const MAX_REF_LEN: usize = 100;

/// Why a text is not an id of the kind that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("not a valid {kind}: {why}")]
pub struct BadId {
    kind: &'static str,
    why: &'static str,
}

fn check(kind: &'static str, text: &str, max: usize) -> Result<(), BadId> {
    let why = if text.is_empty() {
        "it is empty"
    } else if text.len() > max {
        "it is too long"
    } else if text.chars().any(char::is_control) {
        "it has control characters"
    } else {
        return Ok(());
    };
    Err(BadId { kind, why })
}

/// Ids also come from outside, in messages and requests: read, they are checked as by `parse`.
macro_rules! read_as_parsed {
    ($name:ident) => {
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::parse(String::deserialize(deserializer)?).map_err(D::Error::custom)
            }
        }
    };
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
        #[serde(transparent)]
        pub struct $name(String);

        read_as_parsed!($name);

        impl $name {
            /// Takes an id that arrived as text.
            ///
            /// # Errors
            /// It is empty, longer than [`MAX_ID_LEN`], or has control characters.
            pub fn parse(text: impl Into<String>) -> Result<Self, BadId> {
                let text = text.into();
                check(stringify!($name), &text, MAX_ID_LEN)?;
                Ok(Self(text))
            }

            /// A new, time-ordered id from the time and 80 random bits.
            #[must_use]
            pub fn mint(now: Timestamp, random: [u8; 10]) -> Self {
                Self(format!(concat!($prefix, "{}"), ordered(now, random)))
            }

            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

ids! {
    /// Who owns campaigns and do-not-call entries. On every document and in every query.
    TenantId "ten_";
    /// A campaign: a list of leads and how to dial them.
    CampaignId "cmp_";
    /// A carrier account as named in carriers.toml.
    CarrierId "prv_";
    /// A call as the carrier names it (Twilio `CA…`).
    CarrierCallId "call_";
    /// One delivery of leads.
    ImportId "imp_";
    /// One running process.
    WorkerId "wrk_";
    /// The holder of a claimed lead; a fresh one each claim.
    ClaimToken "clm_";
    /// Proof that an intent is this process's own; a fresh one each leg.
    Nonce "nce_";
    /// A recording of a call.
    RecordingId "rec_";
    /// `carrier:event key`: a callback is stored once under it.
    CallbackId "cbk_";
}

/// A lead: `<campaign>:<ref>`, the same however often it is delivered.
///
/// The reference defaults to the phone number, so printing hides it: keys are made with
/// [`LeadId::as_str`], logs get the masked form.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct LeadId(String);

read_as_parsed!(LeadId);

impl LeadId {
    /// The lead of `campaign` that the customer calls `reference`.
    ///
    /// # Errors
    /// The reference is empty, longer than [`MAX_REF_LEN`], or has control characters.
    pub fn new(campaign: &CampaignId, reference: &str) -> Result<Self, BadId> {
        check("lead reference", reference, MAX_REF_LEN)?;
        Ok(Self(format!("{campaign}:{reference}")))
    }

    /// Takes a stored or printed lead id.
    ///
    /// # Errors
    /// It does not have the form `<campaign>:<ref>`.
    pub fn parse(text: impl Into<String>) -> Result<Self, BadId> {
        let text = text.into();
        check("LeadId", &text, MAX_ID_LEN + 1 + MAX_REF_LEN)?;
        if text
            .split_once(':')
            .is_none_or(|(c, r)| c.is_empty() || r.is_empty())
        {
            return Err(BadId {
                kind: "LeadId",
                why: "it is not <campaign>:<ref>",
            });
        }
        Ok(Self(text))
    }

    /// The campaign part.
    #[must_use]
    pub fn campaign(&self) -> CampaignId {
        CampaignId(self.0.split_once(':').map_or("", |(c, _)| c).to_owned())
    }

    /// The customer's reference.
    #[must_use]
    pub fn reference(&self) -> &str {
        self.0.split_once(':').map_or("", |(_, r)| r)
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LeadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&masked(&self.0))
    }
}

impl fmt::Debug for LeadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&masked(&self.0))
    }
}

/// An attempt: `<lead>:<n>`. Never sort by it: as text, attempt 9 comes after attempt 10.
/// Printing it hides the middle of a reference that is a phone number, as with [`LeadId`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct AttemptId(String);

read_as_parsed!(AttemptId);

impl AttemptId {
    /// The `n`th attempt at `lead`.
    #[must_use]
    pub fn new(lead: &LeadId, n: u32) -> Self {
        Self(format!("{}:{n}", lead.0))
    }

    /// Takes a stored or received attempt id.
    ///
    /// # Errors
    /// It does not have the form `<campaign>:<ref>:<n>`.
    pub fn parse(text: impl Into<String>) -> Result<Self, BadId> {
        let text = text.into();
        check("AttemptId", &text, MAX_ID_LEN + MAX_REF_LEN + 12)?;
        let bad = |why| BadId {
            kind: "AttemptId",
            why,
        };
        let (lead, n) = text.rsplit_once(':').ok_or(bad("it is not <lead>:<n>"))?;
        LeadId::parse(lead)?;
        n.parse::<u32>()
            .map_err(|_| bad("its number is not a number"))?;
        Ok(Self(text))
    }

    /// The lead part.
    #[must_use]
    pub fn lead(&self) -> LeadId {
        LeadId(self.0.rsplit_once(':').map_or("", |(l, _)| l).to_owned())
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&masked(&self.0))
    }
}

impl fmt::Debug for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&masked(&self.0))
    }
}

/// Replaces the middle digits of every phone-like run (`+` and seven or more digits) by `***`.
#[must_use]
pub fn masked(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('+') {
        let digits = rest[at + 1..]
            .bytes()
            .take_while(u8::is_ascii_digit)
            .count();
        let end = at + 1 + digits;
        out.push_str(&rest[..=at]);
        if digits >= 7 {
            out.push_str(&rest[at + 1..at + 4]);
            out.push_str("***");
            out.push_str(&rest[end - 3..end]);
        } else {
            out.push_str(&rest[at + 1..end]);
        }
        rest = &rest[end..];
    }
    out.push_str(rest);
    out
}

/// `UUIDv7` without hyphens: sorts by time, 74 random bits.
fn ordered(now: Timestamp, random: [u8; 10]) -> String {
    let ms = u64::try_from(now.millis()).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(ms, &random)
        .into_uuid()
        .simple()
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minted_ids_sort_by_time() {
        let a = CampaignId::mint(Timestamp::from_millis(1_000), [255; 10]);
        let b = CampaignId::mint(Timestamp::from_millis(1_001), [0; 10]);
        assert!(a < b, "{a} {b}");
        assert!(a.as_str().starts_with("cmp_"));
    }

    #[test]
    fn attempt_and_lead_take_apart_what_they_put_together() {
        let c = CampaignId::parse("cmp_1").expect("valid");
        let lead = LeadId::new(&c, "a:b:7").expect("valid");
        let attempt = AttemptId::new(&lead, 12);
        assert_eq!(AttemptId::parse(attempt.as_str()), Ok(attempt.clone()));
        assert_eq!(attempt.lead(), lead);
        assert_eq!((lead.campaign(), lead.reference()), (c, "a:b:7"));
    }

    #[test]
    fn printing_hides_a_phone_number() {
        let c = CampaignId::parse("cmp_1").expect("valid");
        let lead = LeadId::new(&c, "+442079460119").expect("valid");
        assert_eq!(format!("{lead}"), "cmp_1:+442***119");
        assert_eq!(
            format!("{:?}", AttemptId::new(&lead, 3)),
            "cmp_1:+442***119:3"
        );
        assert_eq!(AttemptId::new(&lead, 3).as_str(), "cmp_1:+442079460119:3");
    }

    #[test]
    fn bad_ids_are_refused() {
        for text in ["", "x", "c:", ":r", "c:r:", "c:r:x", "c:r\n:1"] {
            assert!(AttemptId::parse(text).is_err(), "{text:?}");
        }
        assert!(CampaignId::parse("x".repeat(MAX_ID_LEN + 1)).is_err());
    }
}
