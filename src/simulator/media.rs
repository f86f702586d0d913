//! The files of recordings: small, valid, and different for every recording. Behind the carriers'
//! own addresses stands a store with signed ones (`/media/{id}.wav?expires=…&signature=…`), which, as
//! real ones do, refuses a request that has credentials besides.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::dice::Dice;
use crate::faults::MediaFault;
use crate::fuse::Fuse;
use crate::office::Office;
use crate::takes::{Stage, Take};

/// How long a signed address is good, in real time.
const GOOD_FOR: Duration = Duration::from_secs(600);
/// Longest sound in a file, whatever the recording's length.
const MOST: Duration = Duration::from_secs(3);
const RATE: u32 = 8_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Wav,
    Mp3,
}

impl Format {
    /// Of `…/name.wav` or `…/name.mp3`, and the name.
    pub(crate) fn split(file: &str) -> Option<(&str, Self)> {
        let (name, ending) = file.rsplit_once('.')?;
        match ending {
            "wav" => Some((name, Self::Wav)),
            "mp3" => Some((name, Self::Mp3)),
            _ => None,
        }
    }

    const fn ending(self) -> &'static str {
        match self {
            Self::Wav => "wav",
            Self::Mp3 => "mp3",
        }
    }

    const fn mime(self) -> &'static str {
        match self {
            Self::Wav => "audio/x-wav",
            Self::Mp3 => "audio/mpeg",
        }
    }
}

pub(crate) fn router(office: Arc<Office>) -> Router {
    Router::new()
        .route("/media/{file}", get(stored))
        .with_state(office)
}

/// A signed address of a file.
pub(crate) fn address(office: &Office, take: &Take, format: Format, expired: bool) -> String {
    let now = office.now().millis();
    let good = i64::try_from(GOOD_FOR.as_millis()).unwrap_or(i64::MAX);
    let expires = if expired { now - 1 } else { now + good };
    let signature = signature(office, &take.id, expires);
    let (origin, id, ending) = (&office.origin, &take.id, format.ending());
    format!("{origin}/media/{id}.{ending}?expires={expires}&signature={signature}")
}

fn signature(office: &Office, id: &str, expires: i64) -> String {
    let dice = Dice::new(office.network.seed());
    format!(
        "{:016x}",
        dice.roll("address", &format!("{id}/{expires}"), 0)
    )
}

async fn stored(
    State(office): State<Arc<Office>>,
    Path(file): Path<String>,
    RawQuery(query): RawQuery,
    ConnectInfo(fuse): ConnectInfo<Fuse>,
    headers: HeaderMap,
) -> Response {
    if headers.contains_key(header::AUTHORIZATION) {
        return (StatusCode::BAD_REQUEST, "Only one way to authenticate").into_response();
    }
    let query = query.unwrap_or_default();
    let value = |key: &str| {
        let mut pairs = form_urlencoded::parse(query.as_bytes());
        pairs.find(|(k, _)| k == key).map(|(_, v)| v.into_owned())
    };
    let expires = value("expires").and_then(|text| text.parse::<i64>().ok());
    let Some((id, format)) = Format::split(&file) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let signed = |at: i64| value("signature").is_some_and(|s| s == signature(&office, id, at));
    match expires {
        Some(at) if signed(at) && at > office.now().millis() => {}
        _ => return (StatusCode::FORBIDDEN, "Request has expired").into_response(),
    }
    let Some(take) = office.takes().get(id).cloned() else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let both = take.plan.dual;
    serve(&office, &take, (format, both), &fuse, false)
}

/// Answers a request for a file, as the fault plan has it; in two channels if `both`.
pub(crate) fn serve(
    office: &Office,
    take: &Take,
    (format, both): (Format, bool),
    fuse: &Fuse,
    may_redirect: bool,
) -> Response {
    let nth = office.takes().requested(&take.id);
    let late = office.faults.media_late(&take.carrier, &take.phone);
    let there = take.stage == Stage::Complete
        && take
            .ended_at
            .is_some_and(|at| office.now().since(at) >= late);
    if !there {
        return StatusCode::NOT_FOUND.into_response();
    }
    let fault = office
        .faults
        .media(&take.carrier, &take.phone, &take.id, nth);
    let bytes = content(take, format, both);
    match fault {
        MediaFault::Redirected if may_redirect => {
            let to = address(office, take, format, false);
            return (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, to)]).into_response();
        }
        MediaFault::None | MediaFault::Redirected => {}
        MediaFault::Error => return StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        MediaFault::Truncated(roll) => {
            // The head is longer than 100 bytes, so this is always short of the end.
            fuse.light(roll % u64::try_from(bytes.len() + 100).unwrap_or(1));
        }
    }
    ([(header::CONTENT_TYPE, format.mime())], bytes).into_response()
}

fn content(take: &Take, format: Format, both: bool) -> Vec<u8> {
    let long = take.length.min(MOST);
    match format {
        Format::Wav => wav(&take.id, long, if both { 2 } else { 1 }),
        Format::Mp3 => mp3(&take.id, long),
    }
}

/// PCM, 16 bits, 8 kHz: a triangle wave whose pitch comes from the id; the second channel is silent.
fn wav(id: &str, long: Duration, channels: u16) -> Vec<u8> {
    let samples = u32::try_from(long.as_millis()).unwrap_or(0) * (RATE / 1_000);
    let frame = 2 * u32::from(channels);
    let data = samples * frame;
    let mut out = Vec::new();
    out.extend(b"RIFF");
    out.extend((36 + data).to_le_bytes());
    out.extend(b"WAVEfmt ");
    out.extend(16_u32.to_le_bytes());
    out.extend(1_u16.to_le_bytes());
    out.extend(channels.to_le_bytes());
    out.extend(RATE.to_le_bytes());
    out.extend((RATE * frame).to_le_bytes());
    out.extend((channels * 2).to_le_bytes());
    out.extend(16_u16.to_le_bytes());
    out.extend(b"data");
    out.extend(data.to_le_bytes());
    let period = 16 + i32::try_from(Dice::new(0).roll("pitch", id, 0) % 40).unwrap_or(0);
    for n in 0..samples {
        let phase = i32::try_from(n).unwrap_or(0) % period;
        let height = (2 * phase - period).abs() * 16_000 / period - 8_000;
        out.extend(i16::try_from(height).unwrap_or(0).to_le_bytes());
        for _ in 1..channels {
            out.extend(0_i16.to_le_bytes());
        }
    }
    out
}

/// Silent frames of MPEG 1 layer III (128 kbit/s, 44.1 kHz), after a tag that has the id.
fn mp3(id: &str, long: Duration) -> Vec<u8> {
    let text = [b"\0".as_slice(), id.as_bytes()].concat();
    let size = |n: usize| u8::try_from(n).unwrap_or(0);
    let mut out = b"ID3\x03\0\0\0\0\0".to_vec();
    out.push(size(text.len() + 10));
    out.extend(b"TIT2\0\0\0");
    out.push(size(text.len()));
    out.extend(b"\0\0");
    out.extend(text);
    let frames = 1 + long.as_millis() / 26;
    for _ in 0..frames {
        out.extend([0xff, 0xfb, 0x90, 0x64]);
        out.extend([0; 413]);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{mp3, wav};
    use std::time::Duration;

    #[test]
    fn files_say_how_long_they_are_and_differ() {
        for channels in [1, 2] {
            let a = wav("a", Duration::from_millis(500), channels);
            assert_eq!(a.len(), 44 + 500 * 8 * 2 * usize::from(channels));
            let size = u32::from_le_bytes(a[4..8].try_into().unwrap());
            assert_eq!(usize::try_from(size).unwrap() + 8, a.len());
            assert_ne!(a, wav("b", Duration::from_millis(500), channels));
        }
        let a = mp3("a", Duration::from_secs(1));
        assert!(a.starts_with(b"ID3") && a[20 + 2..].starts_with(&[0xff, 0xfb]));
        assert_ne!(a, mp3("b", Duration::from_secs(1)));
    }
}
