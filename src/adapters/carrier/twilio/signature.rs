//! `X-Twilio-Signature`: proof that a callback is Twilio's.
//!
//! The signed text is the public URL as Twilio called it, followed by the form's fields sorted by
//! key, each distinct value once, key and value without separators. Twilio may or may not write the
//! port into the URL, so both forms are accepted. A JSON body is bound by its SHA-256 in the query.
//!
//! Deliberately absent: `X-Twilio-Webhooks-Signature-Settings`. It lets the sender name another key
//! and algorithm; until those can be pinned in the configuration its presence changes nothing.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// The fields of a form body, as they are signed.
#[derive(Debug, Default)]
pub(super) struct Fields(BTreeMap<String, BTreeSet<String>>);

impl Fields {
    /// Reads a form body. Anything is a form.
    pub(super) fn parse(body: &[u8]) -> Self {
        let mut fields = Self::default();
        for (key, value) in form_urlencoded::parse(body) {
            fields
                .0
                .entry(key.into_owned())
                .or_default()
                .insert(value.into_owned());
        }
        fields
    }

    /// The only value of a field. `None` when it is missing, empty, or said twice in two ways.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        let values = self.0.get(key)?;
        let only = values.first().filter(|_| values.len() == 1)?;
        Some(only.as_str()).filter(|value| !value.is_empty())
    }

    fn append_to(&self, text: &mut String) {
        for (key, values) in &self.0 {
            for value in values {
                text.push_str(key);
                text.push_str(value);
            }
        }
    }
}

/// Whether `signature` signs a form POST to `url`.
pub(super) fn form_is_signed(token: &str, signature: &str, url: &str, fields: &Fields) -> bool {
    is_signed(token, signature, url, Some(fields))
}

/// Whether `signature` signs a POST of the JSON `body` to `url`. Without `bodySHA256` in the query
/// the body is not covered by the signature, and the answer is no.
pub(super) fn json_is_signed(token: &str, signature: &str, url: &str, body: &[u8]) -> bool {
    let query = url
        .split('#')
        .next()
        .unwrap_or(url)
        .split_once('?')
        .map_or("", |(_, query)| query);
    let mut hashes =
        form_urlencoded::parse(query.as_bytes()).filter(|(key, _)| key == "bodySHA256");
    let (Some((_, hash)), None) = (hashes.next(), hashes.next()) else {
        return false;
    };
    let computed = hex::encode(Sha256::digest(body));
    let same = computed.as_bytes().ct_eq(hash.as_bytes());
    bool::from(same) && is_signed(token, signature, url, None)
}

fn is_signed(token: &str, signature: &str, url: &str, fields: Option<&Fields>) -> bool {
    let Ok(given) = STANDARD.decode(signature.trim()) else {
        return false;
    };
    // Both are computed whatever the first says, so that time tells nothing.
    let matches = with_and_without_port(url).map(|url| {
        let mut text = url;
        if let Some(fields) = fields {
            fields.append_to(&mut text);
        }
        let mut mac =
            Hmac::<Sha1>::new_from_slice(token.as_bytes()).expect("HMAC takes a key of any length");
        mac.update(text.as_bytes());
        mac.finalize().into_bytes().ct_eq(given.as_slice())
    });
    bool::from(matches[0] | matches[1])
}

/// The URL with its port (the scheme's own if it has none) and without any; no fragment. The rest
/// stays as it is to the byte: what a URL parser would tidy up was not tidy when it was signed.
fn with_and_without_port(url: &str) -> [String; 2] {
    let url = url.split('#').next().unwrap_or(url);
    let Some((scheme, rest)) = url.split_once("://") else {
        return [url.to_owned(), url.to_owned()];
    };
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let (host, port) = match authority.rsplit_once(':') {
        // A colon inside [brackets] is part of an IPv6 address.
        Some((host, port)) if !port.ends_with(']') => (host, port),
        _ => (
            authority,
            if scheme.eq_ignore_ascii_case("https") {
                "443"
            } else {
                "80"
            },
        ),
    };
    [
        format!("{scheme}://{host}:{port}{path}"),
        format!("{scheme}://{host}{path}"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "12345";
    const URL: &str = "https://mycompany.com/myapp.php?foo=1&bar=2";
    const FORM: &str = "CallSid=CA1234567890ABCDE&Caller=%2B14158675309&Digits=1234&From=%2B14158675309&To=%2B18005551212";
    const SIGNATURE: &str = "RSOYDt4T1cUTdK1PDd93/VVr8B8=";
    const JSON: &str = r#"{"property": "value", "boolean": true}"#;
    const JSON_HASH: &str = "0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620";
    const JSON_SIGNATURE: &str = "a9nBmqA0ju/hNViExpshrM61xv4=";

    fn form(signature: &str, url: &str, body: &str) -> bool {
        form_is_signed(TOKEN, signature, url, &Fields::parse(body.as_bytes()))
    }

    #[test]
    fn the_published_vectors_hold() {
        assert!(form(SIGNATURE, URL, FORM));
        let reordered = "To=%2B18005551212&From=%2B14158675309&Digits=1234&CallSid=CA1234567890ABCDE&Caller=%2B14158675309";
        assert!(form(SIGNATURE, URL, reordered));
        let twice = "Sid=CA123&SidAccount=AC123&Digits=5678&Digits=1234&Digits=1234";
        assert!(form("IK+Dwps556ElfBT0I3Rgjkr1wJU=", URL, twice));
    }

    #[test]
    fn a_port_may_be_there_or_not() {
        let with = |scheme, port| format!("{scheme}://mycompany.com{port}/myapp.php?foo=1&bar=2");
        let table = [
            ("https", ":443", "kvajT1Ptam85bY51eRf/AJRuM3w="),
            ("http", ":80", "0ZXoZLH/DfblKGATFgpif+LLRf4="),
            ("http", ":1234", "Zmvh+3yNM1Phv2jhDCwEM3q5ebU="),
        ];
        for (scheme, port, signature) in table {
            assert!(form(signature, &with(scheme, port), FORM), "{scheme}{port}");
        }
        // Signed with a port, called without, and the other way round.
        assert!(form("kvajT1Ptam85bY51eRf/AJRuM3w=", URL, FORM));
        assert!(form(
            "0ZXoZLH/DfblKGATFgpif+LLRf4=",
            &with("http", ""),
            FORM
        ));
        assert!(form(SIGNATURE, &with("https", ":443"), FORM));
        assert!(form(SIGNATURE, &with("https", ":1234"), FORM));
        assert!(!form(
            "Zmvh+3yNM1Phv2jhDCwEM3q5ebU=",
            &with("http", ""),
            FORM
        ));
    }

    #[test]
    fn a_json_body_is_bound_by_its_hash() {
        let url = format!("{URL}&bodySHA256={JSON_HASH}");
        assert!(json_is_signed(TOKEN, JSON_SIGNATURE, &url, JSON.as_bytes()));
        assert!(!json_is_signed(TOKEN, JSON_SIGNATURE, &url, b"{}"));
        assert!(!json_is_signed(
            "other",
            JSON_SIGNATURE,
            &url,
            JSON.as_bytes()
        ));
        let twice = format!("{url}&bodySHA256={JSON_HASH}");
        assert!(!json_is_signed(
            TOKEN,
            JSON_SIGNATURE,
            &twice,
            JSON.as_bytes()
        ));
        // A signature of the URL alone says nothing about a body.
        let bare = Hmac::<Sha1>::new_from_slice(TOKEN.as_bytes())
            .unwrap()
            .chain_update(URL);
        let bare = STANDARD.encode(bare.finalize().into_bytes());
        assert!(form(&bare, URL, ""));
        assert!(!json_is_signed(TOKEN, &bare, URL, JSON.as_bytes()));
    }

    #[test]
    fn anything_else_is_forged() {
        for signature in [
            "",
            "x",
            "====",
            "RSOYDt4T1cUTdK1PDd93/VVr8B9=",
            "033hgUJA9M/hXIZsYjwkerEP/DBm35nEri5FhCYjA5s=",
        ] {
            assert!(!form(signature, URL, FORM), "{signature}");
        }
        assert!(!form_is_signed(
            "54321",
            SIGNATURE,
            URL,
            &Fields::parse(FORM.as_bytes())
        ));
        assert!(!form(SIGNATURE, URL, &format!("{FORM}&More=1")));
        assert!(!form(
            SIGNATURE,
            "https://mycompany.com/myapp.php?foo=1&bar=3",
            FORM
        ));
        assert!(!form(SIGNATURE, "not a url", FORM));
    }

    #[test]
    fn ports_are_found_where_they_are() {
        let table = [
            ("https://h/p#f", "https://h:443/p", "https://h/p"),
            ("https://h?q=a:1", "https://h:443?q=a:1", "https://h?q=a:1"),
            ("http://[::1]/p", "http://[::1]:80/p", "http://[::1]/p"),
            ("http://[::1]:8/p", "http://[::1]:8/p", "http://[::1]/p"),
            ("x", "x", "x"),
        ];
        for (url, with, without) in table {
            assert_eq!(with_and_without_port(url), [with, without]);
        }
    }

    #[test]
    fn a_field_said_in_two_ways_is_not_said() {
        let fields = Fields::parse(b"a=1&b=1&b=2&c=&d=x&d=x");
        assert_eq!(fields.get("a"), Some("1"));
        assert_eq!(fields.get("b"), None);
        assert_eq!(fields.get("c"), None);
        assert_eq!(fields.get("d"), Some("x"));
    }
}
