//! From where a callback came: the allow-list that stands in for a signature.
//!
//! The address is that of the connection. Behind proxies it is what the nearest one wrote into
//! `X-Forwarded-For`, but only of proxies that the configuration trusts: anybody can write that header,
//! and each proxy appends, so it is read from its end and no further than the first stranger.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use dialfleet_engine::port::carrier::RawCallback;
use thiserror::Error;

/// Why a text is not a network.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("\"{0}\" is not a network: write 203.0.113.0/24, 2001:db8::/32 or a single address")]
pub struct BadNetwork(String);

/// An IP network, or a single address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Network {
    base: IpAddr,
    bits: u32,
}

impl FromStr for Network {
    type Err = BadNetwork;

    fn from_str(text: &str) -> Result<Self, BadNetwork> {
        let bad = || BadNetwork(text.chars().take(60).collect());
        let (base, bits) = match text.trim().split_once('/') {
            Some((base, bits)) => (base, Some(bits.parse::<u32>().map_err(|_| bad())?)),
            None => (text.trim(), None),
        };
        let base: IpAddr = base.parse().map_err(|_| bad())?;
        let width = width(base);
        let this = Self {
            base,
            bits: bits.unwrap_or(width),
        };
        // 10.1.2.3/8 is a slip: the network or the address was meant, and only the writer knows.
        let tidy = this.bits <= width && number(base) & !mask(this.bits, width) == 0;
        tidy.then_some(this).ok_or_else(bad)
    }
}

impl Network {
    fn has(&self, address: IpAddr) -> bool {
        let width = width(self.base);
        width == self::width(address)
            && number(address) & mask(self.bits, width) == number(self.base)
    }
}

fn width(address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// The first `bits` of `width` bits.
fn mask(bits: u32, width: u32) -> u128 {
    let all = u128::MAX >> (128 - width);
    all & !all.checked_shr(bits).unwrap_or(0)
}

/// Who may call back, and which proxies tell the truth about whom they speak for.
#[derive(Debug, Clone)]
pub(super) struct Sources {
    allowed: Vec<Network>,
    proxies: Vec<Network>,
}

impl Sources {
    pub(super) fn new(allowed: &[String], proxies: &[String]) -> Result<Self, BadNetwork> {
        let read = |texts: &[String]| -> Result<Vec<Network>, BadNetwork> {
            texts.iter().map(|text| text.parse()).collect()
        };
        Ok(Self {
            allowed: read(allowed)?,
            proxies: read(proxies)?,
        })
    }

    /// Nobody may.
    pub(super) fn is_empty(&self) -> bool {
        self.allowed.is_empty()
    }

    /// Whether `raw` came from an allowed address.
    pub(super) fn admits(&self, raw: &RawCallback) -> bool {
        self.client(raw)
            .is_some_and(|client| self.allowed.iter().any(|network| network.has(client)))
    }

    /// Who sent it, as far as we can know.
    pub(super) fn client(&self, raw: &RawCallback) -> Option<IpAddr> {
        let mut client = raw.peer?.to_canonical();
        let said = raw
            .headers
            .get("x-forwarded-for")
            .map_or("", String::as_str);
        for hop in said.rsplit(',') {
            if !self.proxies.iter().any(|proxy| proxy.has(client)) {
                break;
            }
            match address(hop) {
                Some(before) => client = before,
                // The proxy was asked by nobody but itself.
                None if said.is_empty() => break,
                None => return None,
            }
        }
        Some(client)
    }
}

/// An address as proxies write it, some with a port.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text.parse().ok();
    bare.or_else(|| text.parse().ok().map(|socket: SocketAddr| socket.ip()))
        .map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|&text| text.to_owned()).collect()
    }

    fn raw(peer: Option<&str>, forwarded: Option<&str>) -> RawCallback {
        let headers = forwarded.map(|said| ("x-forwarded-for".to_owned(), said.to_owned()));
        RawCallback {
            url: String::new(),
            headers: headers.into_iter().collect(),
            peer: peer.map(|peer| peer.parse().unwrap()),
            body: bytes::Bytes::new(),
        }
    }

    #[test]
    fn networks_have_their_addresses() {
        let table = [
            ("203.0.113.0/24", "203.0.113.255", true),
            ("203.0.113.0/24", "203.0.114.0", false),
            ("203.0.113.7", "203.0.113.7", true),
            ("203.0.113.7", "203.0.113.8", false),
            ("203.0.113.7/32", "203.0.113.7", true),
            ("0.0.0.0/0", "198.51.100.1", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "2001:db8::1", true),
            ("2001:db8::/33", "2001:db8:7fff::1", true),
            ("2001:db8::/33", "2001:db8:8000::1", false),
            // As a socket that listens on both families names it.
            ("203.0.113.0/24", "::ffff:203.0.113.9", true),
        ];
        for (network, address, has) in table {
            let sources = Sources::new(&strings(&[network]), &[]).unwrap();
            assert_eq!(
                sources.admits(&raw(Some(address), None)),
                has,
                "{network} {address}"
            );
        }
        for bad in [
            "",
            "x",
            "203.0.113.0/33",
            "203.0.113.1/24",
            "203.0.113.0/",
            "::/129",
            "1.2.3/8",
        ] {
            assert!(Sources::new(&strings(&[bad]), &[]).is_err(), "{bad}");
            assert!(Sources::new(&[], &strings(&[bad])).is_err(), "{bad}");
        }
        assert!(
            !Sources::new(&[], &[])
                .unwrap()
                .admits(&raw(Some("203.0.113.7"), None))
        );
    }

    #[test]
    fn only_a_trusted_proxy_may_speak_for_others() {
        let sources = Sources::new(
            &strings(&["203.0.113.0/24"]),
            &strings(&["10.0.0.0/8", "192.0.2.1"]),
        )
        .unwrap();
        let table = [
            (Some("203.0.113.7"), None, true),
            (None, None, false),
            (None, Some("203.0.113.7"), false),
            // Whoever connects directly may write what he likes.
            (Some("198.51.100.1"), Some("203.0.113.7"), false),
            (Some("203.0.113.7"), Some("198.51.100.1"), true),
            (Some("10.0.0.1"), Some("203.0.113.7"), true),
            (Some("10.0.0.1"), Some("203.0.113.7:4711"), true),
            (Some("::ffff:10.0.0.1"), Some(" 203.0.113.7 "), true),
            (Some("10.0.0.1"), Some("203.0.113.7, 192.0.2.1"), true),
            // What the client itself claimed stands further left.
            (Some("10.0.0.1"), Some("203.0.113.7, 198.51.100.1"), false),
            (Some("10.0.0.1"), Some("198.51.100.1, 203.0.113.7"), true),
            (
                Some("10.0.0.1"),
                Some("203.0.113.7, 198.51.100.1, 10.0.0.2"),
                false,
            ),
            (Some("10.0.0.1"), Some("unknown"), false),
            (Some("10.0.0.1"), Some("203.0.113.7, unknown"), false),
            (Some("10.0.0.1"), Some("203.0.113.7,"), false),
            (Some("10.0.0.1"), Some(""), false),
            (Some("10.0.0.1"), None, false),
            // Nobody but proxies: not the carrier.
            (Some("10.0.0.1"), Some("10.0.0.2"), false),
        ];
        for (peer, forwarded, admitted) in table {
            let raw = raw(peer, forwarded);
            assert_eq!(sources.admits(&raw), admitted, "{peer:?} {forwarded:?}");
        }
    }
}
