//! `kind = "telnyx"`.

use dialfleet_adapters::carrier::Secret;
use dialfleet_adapters::carrier::telnyx::{BASE_URL, TelnyxConfig};
use dialfleet_domain::id::CarrierId;
use dialfleet_domain::phone::E164;

use super::{Entry, Source, need};

pub(super) fn read(
    entry: Entry,
    caller_ids: Vec<E164>,
    source: &dyn Source,
) -> anyhow::Result<TelnyxConfig> {
    let need = |value: &Option<_>, name| need(value.as_ref(), name, source);
    Ok(TelnyxConfig {
        cps: entry.cps,
        channels: entry.channels,
        caller_ids,
        weight: entry.weight.unwrap_or(1),
        api_key: Secret::new(&need(&entry.api_key, "api_key")?),
        connection_id: need(&entry.connection_id, "connection_id")?
            .trim()
            .to_owned(),
        public_key: need(&entry.public_key, "public_key")?.trim().to_owned(),
        base_url: match &entry.base_url {
            Some(url) => url.text(source)?,
            None => BASE_URL.to_owned(),
        },
        id: CarrierId::parse(entry.id)?,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use super::super::{Vendor, parse};
    use super::*;

    const GOOD: &str = r#"
[[carrier]]
id = "x1"
kind = "telnyx"
api_key = { env = "TELNYX_API_KEY" }
connection_id = "1293384261075731461"
public_key = "A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg="
cps = 5
caller_ids = ["+442079460000"]
"#;

    fn read(text: &str) -> anyhow::Result<TelnyxConfig> {
        let env = BTreeMap::from([("TELNYX_API_KEY".to_owned(), "KEY-hunter2\n".to_owned())]);
        match parse(text, Path::new(""), &env)?.pop().map(|c| c.vendor) {
            Some(Vendor::Telnyx(config)) => Ok(config),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_good_file_and_what_can_be_wrong_with_it() {
        let config = read(GOOD).expect("good");
        assert_eq!(config.api_key.expose(), "KEY-hunter2");
        assert_eq!(config.base_url, BASE_URL);
        let other = format!("{GOOD}base_url = \"http://simulator:9090\"\n");
        assert_eq!(
            read(&other).expect("good").base_url,
            "http://simulator:9090"
        );
        let cases = [
            (GOOD.replace("api_key", "#"), "api_key"),
            (GOOD.replace("connection_id", "#"), "connection_id"),
            (GOOD.replace("public_key", "#"), "public_key"),
            (GOOD.replace("TELNYX_API_KEY", "NOPE"), "NOPE"),
        ];
        for (text, needle) in cases {
            let error = format!("{:#}", read(&text).expect_err(needle));
            assert!(error.contains(needle), "{needle}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
