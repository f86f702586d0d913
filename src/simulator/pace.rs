//! How long things take on a call, in network time; the same at every carrier.

use std::time::Duration;

/// A character of a spoken text.
const CHARACTER: Duration = Duration::from_millis(60);
/// A played file: nobody listens to its content.
pub(crate) const FILE: Duration = Duration::from_secs(5);
/// From the end of a prompt to the first key.
pub(crate) const FIRST_KEY: Duration = Duration::from_secs(1);
/// From key to key.
pub(crate) const KEY: Duration = Duration::from_millis(200);
/// What a stream's other end has to say, before it closes.
pub(crate) const STREAM: Duration = Duration::from_secs(20);

pub(crate) fn spoken(text: &str) -> Duration {
    CHARACTER * u32::try_from(text.chars().count()).unwrap_or(u32::MAX)
}

/// Whether nobody is at that address: a reserved name (RFC 2606) that a test can rely on.
pub(crate) fn unreachable(url: &str) -> bool {
    let url = reqwest::Url::parse(url).ok();
    url.is_none_or(|url| url.host_str().is_none_or(|host| host.ends_with(".invalid")))
}
