//! `X-Twilio-Signature` of form callbacks.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

/// Signs `url` (a fragment is left out) and the form fields with the account's auth token: keys in
/// byte order, for each its distinct values in order, all joined without separators.
#[must_use]
pub fn sign<'a>(
    auth_token: &str,
    url: &str,
    params: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> String {
    let mut mac =
        Hmac::<Sha1>::new_from_slice(auth_token.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(url.split('#').next().unwrap_or(url).as_bytes());
    for (key, value) in params.into_iter().collect::<BTreeSet<_>>() {
        mac.update(key.as_bytes());
        mac.update(value.as_bytes());
    }
    STANDARD.encode(mac.finalize().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::sign;

    const REST: &str = "/myapp.php?foo=1&bar=2";
    const FIELDS: [(&str, &str); 5] = [
        ("To", "+18005551212"),
        ("CallSid", "CA1234567890ABCDE"),
        ("Caller", "+14158675309"),
        ("Digits", "1234"),
        ("From", "+14158675309"),
    ];

    #[test]
    fn vectors_of_the_official_library() {
        for (origin, expected) in [
            ("https://mycompany.com", "RSOYDt4T1cUTdK1PDd93/VVr8B8="),
            ("https://mycompany.com:443", "kvajT1Ptam85bY51eRf/AJRuM3w="),
            ("http://mycompany.com:80", "0ZXoZLH/DfblKGATFgpif+LLRf4="),
            ("http://mycompany.com:1234", "Zmvh+3yNM1Phv2jhDCwEM3q5ebU="),
        ] {
            assert_eq!(
                sign("12345", &format!("{origin}{REST}"), FIELDS),
                expected,
                "{origin}"
            );
        }
    }

    #[test]
    fn repeated_values_count_once_and_fragments_not_at_all() {
        let url = format!("https://mycompany.com{REST}#rc=3&rp=all");
        let fields = [
            ("Sid", "CA123"),
            ("SidAccount", "AC123"),
            ("Digits", "5678"),
            ("Digits", "1234"),
            ("Digits", "1234"),
        ];
        assert_eq!(sign("12345", &url, fields), "IK+Dwps556ElfBT0I3Rgjkr1wJU=");
    }

    #[test]
    fn json_body_signs_the_url_alone() {
        let url = format!(
            "https://mycompany.com{REST}&bodySHA256={}",
            "0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620"
        );
        assert_eq!(sign("12345", &url, []), "a9nBmqA0ju/hNViExpshrM61xv4=");
    }
}
