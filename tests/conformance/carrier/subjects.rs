//! The carriers that are put through the checks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use dialfleet_adapters::carrier::Secret;
use dialfleet_adapters::carrier::sanspbx::{LONGEST_CALL, SansPbx, SansPbxConfig};
use dialfleet_adapters::carrier::telnyx::{Telnyx, TelnyxConfig};
use dialfleet_adapters::carrier::twilio::{Twilio, TwilioConfig};
use dialfleet_adapters::system::SystemClock;
use dialfleet_domain::call::Outcome;
use dialfleet_domain::phone::E164;
use dialfleet_engine::port::Carrier;
use dialfleet_simulator::{Account, SansPbxAccount, TelnyxAccount, TwilioAccount};
use dialfleet_tests::sample;

/// A carrier, its account at the simulator, and what is particular about it.
pub(super) struct Subject {
    pub(super) account: Account,
    /// The adapter, for a simulator at this address.
    pub(super) carrier: fn(&str) -> Arc<dyn Carrier>,
    /// The same with credentials that no account has.
    pub(super) stranger: fn(&str) -> Arc<dyn Carrier>,
    /// What becomes of calls that are busy, not answered, to no number, congested, declined: as
    /// much of it as the carrier says.
    pub(super) outcomes: [Outcome; 5],
    /// A callback that says that `{call}` ended, unsigned.
    pub(super) ended: &'static str,
    pub(super) content_type: &'static str,
}

const EXACT: [Outcome; 5] = [
    Outcome::Busy,
    Outcome::NoAnswer,
    Outcome::InvalidNumber,
    Outcome::Congestion,
    Outcome::Rejected,
];

fn caller_ids() -> Vec<E164> {
    vec![sample::phone(9_999)]
}

pub(super) fn twilio() -> Subject {
    fn config(base_url: &str, token: &str) -> Arc<dyn Carrier> {
        let config = TwilioConfig {
            id: sample::carrier(),
            cps: 1.0,
            channels: None,
            caller_ids: caller_ids(),
            weight: 1,
            account_sid: "AC1".to_owned(),
            auth_token: Secret::new(token),
            api_key: None,
            base_url: base_url.to_owned(),
        };
        Arc::new(Twilio::new(config).unwrap())
    }
    Subject {
        account: Account::Twilio(TwilioAccount {
            name: "twilio".to_owned(),
            account_sid: "AC1".to_owned(),
            auth_token: "token".to_owned(),
            cps: None,
        }),
        carrier: |base_url| config(base_url, "token"),
        stranger: |base_url| config(base_url, "guessed"),
        outcomes: EXACT,
        ended: "CallSid={call}&AccountSid=AC1&CallStatus=completed&SequenceNumber=3",
        content_type: "application/x-www-form-urlencoded",
    }
}

pub(super) fn telnyx() -> Subject {
    fn account() -> TelnyxAccount {
        TelnyxAccount::new("KEY1", "1684641123236054244")
    }
    fn config(base_url: &str, api_key: &str) -> Arc<dyn Carrier> {
        let config = TelnyxConfig {
            id: sample::carrier(),
            cps: 1.0,
            channels: None,
            caller_ids: caller_ids(),
            weight: 1,
            api_key: Secret::new(api_key),
            connection_id: account().connection_id,
            public_key: account().public_key(),
            base_url: base_url.to_owned(),
        };
        Arc::new(Telnyx::new(config, Arc::new(SystemClock)).unwrap())
    }
    Subject {
        account: Account::Telnyx(account()),
        carrier: |base_url| config(base_url, "KEY1"),
        stranger: |base_url| config(base_url, "KEY2"),
        outcomes: EXACT,
        ended: r#"{"data":{"id":"e","event_type":"call.hangup","record_type":"event","payload":{"call_control_id":"{call}","hangup_cause":"normal_clearing"}}}"#,
        content_type: "application/json",
    }
}

/// An exchange in the country of the simulator's numbers.
pub(super) fn sanspbx_config(base_url: &str) -> SansPbxConfig {
    SansPbxConfig {
        id: sample::carrier(),
        cps: 1.0,
        channels: None,
        caller_ids: caller_ids(),
        weight: 1,
        base_url: format!("{base_url}/pbxadmin/sanpbxapi"),
        access_token: Secret::new("static"),
        access_key: Secret::new("key"),
        basic: None,
        app_id: 2,
        to_format: "0{national}".to_owned(),
        from_format: "{national}".to_owned(),
        country_code: "1".to_owned(),
        longest_call: LONGEST_CALL,
        callback_sources: vec!["127.0.0.0/8".to_owned()],
        trusted_proxies: Vec::new(),
        refusals: BTreeMap::new(),
        dispositions: BTreeMap::new(),
    }
}

pub(super) fn sanspbx() -> Subject {
    let mut account = SansPbxAccount::new("sanspbx", "static", "key");
    account.country_code = "1".to_owned();
    account.token_lifetime = Duration::from_secs(60);
    Subject {
        account: Account::SansPbx(account),
        carrier: |base_url| Arc::new(SansPbx::new(sanspbx_config(base_url)).unwrap()),
        stranger: |base_url| {
            let mut config = sanspbx_config(base_url);
            config.access_key = Secret::new("guessed");
            Arc::new(SansPbx::new(config).unwrap())
        },
        // `FAILED` is all it says of the last three.
        outcomes: [
            Outcome::Busy,
            Outcome::NoAnswer,
            Outcome::Unreachable,
            Outcome::Unreachable,
            Outcome::Unreachable,
        ],
        ended: r#"{"Linkedid":"{call}","disposition":"answer"}"#,
        content_type: "application/json",
    }
}
