//! `kind = "sanspbx"`.

use std::time::Duration;

use anyhow::{Context, bail};
use dialfleet_adapters::carrier::Secret;
use dialfleet_adapters::carrier::sanspbx::{
    COUNTRY_CODE, FROM_FORMAT, LONGEST_CALL, SansPbxConfig, TO_FORMAT,
};
use dialfleet_domain::id::CarrierId;
use dialfleet_domain::phone::E164;

use super::{Entry, Source, need};

pub(super) fn read(
    entry: Entry,
    caller_ids: Vec<E164>,
    source: &dyn Source,
) -> anyhow::Result<SansPbxConfig> {
    tracing::warn!(carrier = %entry.id, "SansPBX is experimental: its vendor publishes no specification");
    let need = |value: &Option<_>, name| need(value.as_ref(), name, source);
    let basic = match (&entry.api_user, &entry.api_password) {
        (Some(user), Some(password)) => {
            Some((user.text(source)?, Secret::new(&password.text(source)?)))
        }
        (None, None) => None,
        _ => bail!("api_user and api_password belong together"),
    };
    let base_url = need(&entry.base_url, "base_url")?;
    let or = |text: Option<String>, default: &str| text.unwrap_or_else(|| default.to_owned());
    Ok(SansPbxConfig {
        cps: entry.cps,
        channels: entry.channels,
        caller_ids,
        weight: entry.weight.unwrap_or(1),
        base_url: base_url.trim_end_matches('/').to_owned(),
        access_token: Secret::new(&need(&entry.access_token, "access_token")?),
        access_key: Secret::new(&need(&entry.access_key, "access_key")?),
        basic,
        app_id: entry.app_id.context("app_id is missing")?,
        to_format: or(entry.number_format, TO_FORMAT),
        from_format: or(entry.caller_id_format, FROM_FORMAT),
        country_code: or(entry.country_code, COUNTRY_CODE),
        longest_call: entry.max_call_s.map_or(LONGEST_CALL, Duration::from_secs),
        // Guards are left out in writing, not by forgetting them.
        callback_sources: entry
            .callback_sources
            .context("callback_sources is missing: the networks from which the exchange calls back ([\"0.0.0.0/0\", \"::/0\"] admits everybody)")?,
        trusted_proxies: entry.trusted_proxies.unwrap_or_default(),
        refusals: entry.refusals.unwrap_or_default(),
        dispositions: entry.dispositions.unwrap_or_default(),
        id: CarrierId::parse(entry.id)?,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use dialfleet_adapters::carrier::sanspbx::SansPbx;
    use dialfleet_domain::call::{Ending, RefusalClass};

    use super::super::{Vendor, parse};
    use super::*;

    const GOOD: &str = r#"
[[carrier]]
id = "s1"
kind = "sanspbx"
base_url = "https://pbx.example/pbxadmin/sanpbxapi/"
access_token = { env = "TOKEN" }
access_key = "key"
app_id = 2
cps = 1
caller_ids = ["+911140001234"]
callback_sources = ["203.0.113.0/24"]
"#;

    fn read(text: &str) -> anyhow::Result<SansPbxConfig> {
        let env = BTreeMap::from([("TOKEN".to_owned(), "hunter2".to_owned())]);
        match parse(text, Path::new(""), &env)?.pop().map(|c| c.vendor) {
            Some(Vendor::SansPbx(config)) => Ok(config),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_not_said_has_its_default() {
        let config = read(GOOD).expect("good");
        assert_eq!(config.access_token.expose(), "hunter2");
        assert_eq!(config.base_url, "https://pbx.example/pbxadmin/sanpbxapi");
        assert_eq!(
            (
                config.to_format.as_str(),
                config.from_format.as_str(),
                config.country_code.as_str()
            ),
            ("0{national}", "{national}", "91")
        );
        assert_eq!(config.longest_call, Duration::from_secs(3_600));
        assert!(config.trusted_proxies.is_empty() && config.basic.is_none());
        SansPbx::new(config).expect("can be built");
    }

    #[test]
    fn everything_can_be_said() {
        let more = r#"
api_user = "me"
api_password = "pass"
number_format = "{cc}{national}"
caller_id_format = "{last7}"
country_code = "91"
max_call_s = 1800
channels = 30
trusted_proxies = ["10.0.0.0/8"]
refusals = { "subscriber in dnd" = "failover" }
dispositions = { "voice mail" = "completed" }
"#;
        let config = read(&format!("{GOOD}{more}")).expect("good");
        assert_eq!(config.longest_call, Duration::from_secs(1_800));
        assert_eq!(config.refusals["subscriber in dnd"], RefusalClass::Failover);
        assert_eq!(config.dispositions["voice mail"], Ending::Completed);
        SansPbx::new(config).expect("can be built");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let cases = [
            (GOOD.replace("base_url", "#"), "base_url"),
            (GOOD.replace("access_token", "#"), "access_token"),
            (GOOD.replace("access_key", "#"), "access_key"),
            (GOOD.replace("app_id", "#"), "app_id"),
            (GOOD.replace("callback_sources", "#"), "callback_sources"),
            (GOOD.replace("TOKEN", "NOPE"), "NOPE"),
            (GOOD.replace("app_id = 2", "app_id = \"two\""), "app_id"),
            (format!("{GOOD}api_user = \"me\"\n"), "api_password"),
            (format!("{GOOD}refusals = {{ x = \"shrug\" }}\n"), "shrug"),
            (format!("{GOOD}dispositions = {{ x = \"gone\" }}\n"), "gone"),
        ];
        for (text, needle) in cases {
            let error = format!("{:#}", read(&text).expect_err(needle));
            assert!(error.contains(needle), "{needle}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
