//! Carriers' callbacks: nothing is believed that the carrier did not sign for an address of ours.

use axum::body::Body;
use axum::http::header::HeaderValue;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dialfleet_adapters::carrier::{sanspbx, telnyx};
use dialfleet_domain::id::{AttemptId, CarrierId};
use dialfleet_engine::apply_events::apply_events;
use dialfleet_engine::message::{self, CallEventMessage};
use dialfleet_engine::port::queue::Topic;
use dialfleet_tests::sample;
use hmac::{Hmac, KeyInit, Mac};
use proptest::prelude::*;
use proptest::sample::select;
use sha1::Sha1;

use crate::cases;
use crate::mutate::{edits, mutated};
use crate::rig::{ACCOUNT, Answer, PUBLIC_URL, Rig, TOKEN};

const FORM: &str = "application/x-www-form-urlencoded; charset=UTF-8";
/// As Twilio sends it.
const BODY: &str = "Called=%2B15550100000&CallStatus=completed&Timestamp=Sat%2C+21+Nov+2026+09%3A00%3A09+%2B0000\
    &SipResponseCode=200&CallDuration=12&Direction=outbound-api&SequenceNumber=3&CallSid=CA1&To=%2B15550100000\
    &AccountSid=AC1&From=%2B15550109999&AnsweredBy=human";

/// As Telnyx does, and as SansPBX may.
const OTHERS: [&str; 2] = [
    r#"{"data":{"event_type":"call.answered","id":"e1","occurred_at":"2026-11-21T09:00:09Z","payload":{"call_control_id":"v3:a","call_leg_id":"l","call_session_id":"s","connection_id":"1293384261075731461"},"record_type":"event"}}"#,
    "status=answered&call_id=1&custom_field=a&disposition=BUSY",
];

/// The fields as they are signed: by name, each value once.
fn fields(body: &[u8]) -> Vec<(String, String)> {
    let mut fields: Vec<_> = form_urlencoded::parse(body).into_owned().collect();
    fields.sort();
    fields.dedup();
    fields
}

fn sign(path: &str, body: &[u8]) -> String {
    let mut text = format!("{PUBLIC_URL}{path}");
    for (name, value) in fields(body) {
        text += &name;
        text += &value;
    }
    let mac = Hmac::<Sha1>::new_from_slice(TOKEN.as_bytes()).unwrap();
    STANDARD.encode(mac.chain_update(text).finalize().into_bytes())
}

/// Sends a callback; `None` if it cannot even be written as a request.
async fn call(rig: &Rig, path: &str, signature: &[u8], body: &[u8], kind: &str) -> Option<Answer> {
    let request = axum::http::Request::builder()
        .method("POST")
        .uri(path)
        .header(
            "content-type",
            HeaderValue::from_bytes(kind.as_bytes()).ok()?,
        )
        .header(
            "x-twilio-signature",
            HeaderValue::from_bytes(signature).ok()?,
        )
        .header(
            "telnyx-signature-ed25519",
            HeaderValue::from_bytes(signature).ok()?,
        )
        .header("telnyx-timestamp", "1795251600")
        .header("x-forwarded-for", "203.0.113.7");
    Some(
        rig.send(request.body(Body::from(body.to_vec())).ok()?)
            .await,
    )
}

/// The event that is queued, if one is.
async fn event(rig: &Rig) -> Option<CallEventMessage> {
    // What else waits is free slots.
    let depths = rig.fleet.queue.depths().await.unwrap();
    if !depths
        .iter()
        .any(|(name, n)| *name == Topic::CallEvents.name() && *n > 0)
    {
        return None;
    }
    let mut consumer = rig.fleet.queue.consume(Topic::CallEvents, 8).await.unwrap();
    let mut deliveries = consumer.next(8).await.unwrap();
    assert_eq!(deliveries.len(), 1);
    let delivery = deliveries.pop().unwrap();
    let event = message::decode(delivery.kind.as_deref(), &delivery.body).unwrap();
    delivery.ack().await;
    Some(event)
}

#[test]
fn strangers_are_refused_whatever_they_send() {
    let rig = Rig::new();
    let (attempt, path) = rig.runtime.block_on(rig.attempt());
    let url = |kind: &str, carrier: &str| {
        let carrier = CarrierId::parse(carrier).unwrap();
        rig.fleet
            .keys
            .callback_url("", kind, &carrier, &attempt.id, 0)
    };
    let real = [
        path.clone(),
        url(telnyx::KIND, "telnyx"),
        url(sanspbx::KIND, "pbx"),
    ];
    let parts: Vec<String> = path.split('/').map(str::to_owned).collect();
    let segment = prop_oneof![
        "[A-Za-z0-9_.~%-]{0,40}",
        select(parts).prop_map(|part| part),
        select(&[
            "..",
            "%2e%2e",
            "%00",
            "%FF",
            "twilio",
            "sample",
            "0",
            "256",
            "-1",
            "k070707.",
            ".",
            "k070707.AAAA"
        ])
        .prop_map(str::to_owned),
    ];
    let segments = prop::collection::vec(segment, 5);
    let signature = prop_oneof!["[A-Za-z0-9+/=]{0,30}", "[\t -~]{0,60}"];
    let body = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..300),
        "[A-Za-z0-9%+&=]{0,200}".prop_map(String::into_bytes),
        edits().prop_map(|edits| mutated(BODY.as_bytes(), &edits)),
        (select(&OTHERS), edits()).prop_map(|(body, edits)| mutated(body.as_bytes(), &edits)),
        select(&OTHERS).prop_map(|body| body.as_bytes().to_vec()),
    ];
    let kind = select(&[
        FORM,
        "application/json",
        "text/plain",
        "",
        "multipart/form-data; boundary=a",
        "application/json; charset=\u{7f}",
    ]);
    let real = prop::option::of(select(real.to_vec()));
    let request = (
        segments,
        real,
        signature,
        body,
        kind,
        select(&["", "?", "?bodySHA256=a", "?a=%"]),
    );
    cases(
        3_000,
        request,
        |(segments, real, signature, body, kind, query)| {
            let path = real.unwrap_or_else(|| format!("/webhooks/{}", segments.join("/")));
            let path = format!("{path}{query}");
            let sent = call(&rig, &path, signature.as_bytes(), &body, kind);
            if let Some(answer) = rig.runtime.block_on(sent) {
                prop_assert!(answer.status.is_client_error(), "{:?}", answer);
            }
            prop_assert_eq!(rig.runtime.block_on(rig.waiting()), 0);
            Ok(())
        },
    );
}

/// The carrier's signature is right, the address is not one that we gave out.
#[test]
fn a_right_signature_opens_no_other_address() {
    let rig = Rig::new();
    let (_, path) = rig.runtime.block_on(rig.attempt());
    cases(2_000, edits(), |edits| {
        let bytes = mutated(path.as_bytes(), &edits);
        let Some(changed) = std::str::from_utf8(&bytes)
            .ok()
            .filter(|text| **text != path)
        else {
            return Ok(());
        };
        let signature = sign(changed, BODY.as_bytes());
        let sent = call(&rig, changed, signature.as_bytes(), BODY.as_bytes(), FORM);
        if let Some(answer) = rig.runtime.block_on(sent) {
            // A query is the carrier's own: signed, it does not make another address.
            if changed.split('?').next() == Some(&path) {
                prop_assert!(answer.status.is_success());
                prop_assert!(rig.runtime.block_on(event(&rig)).is_some());
            } else {
                prop_assert!(answer.status.is_client_error(), "{}: {:?}", changed, answer);
            }
        }
        prop_assert_eq!(rig.runtime.block_on(rig.waiting()), 0);
        Ok(())
    });
}

#[test]
fn every_changed_byte_is_noticed() {
    let rig = Rig::new();
    rig.runtime.block_on(async {
        let (attempt, path) = rig.attempt().await;
        let signature = sign(&path, BODY.as_bytes());
        let genuine = call(&rig, &path, signature.as_bytes(), BODY.as_bytes(), FORM).await;
        assert_eq!(genuine.unwrap().status, 204);
        let genuine = event(&rig).await.unwrap();
        assert_eq!((&genuine.attempt, genuine.leg), (&attempt.id, 0));

        let mut changed = 0;
        let pieces = [path.as_bytes(), signature.as_bytes(), BODY.as_bytes()];
        for (which, piece) in pieces.into_iter().enumerate() {
            for at in 0..piece.len() {
                let others = (0..8).map(|bit| piece[at] ^ (1 << bit));
                for byte in others.chain(*b" &=+%/.\0\xFF") {
                    if byte == piece[at] {
                        continue;
                    }
                    let mut bytes = piece.to_vec();
                    bytes[at] = byte;
                    let mut sent = pieces;
                    sent[which] = &bytes;
                    let [path, signature, body] = sent;
                    let Ok(path) = std::str::from_utf8(path) else {
                        continue;
                    };
                    // Written in another way, it says the same: forms are signed by what they say.
                    let same = which == 2 && fields(body) == fields(BODY.as_bytes());
                    let Some(answer) = call(&rig, path, signature, body, FORM).await else {
                        continue;
                    };
                    let event = event(&rig).await;
                    let shown = String::from_utf8_lossy(&bytes);
                    if same {
                        let event = event.unwrap();
                        assert_eq!(
                            (answer.status.as_u16(), event.statuses),
                            (204, genuine.statuses.clone()),
                            "{shown}"
                        );
                    } else {
                        assert!(
                            answer.status.is_client_error() && event.is_none(),
                            "{shown}: {answer:?}"
                        );
                    }
                    changed += 1;
                }
            }
        }
        assert!(changed > 5_000, "{changed}");
    });
}

#[test]
fn signatures_that_are_nearly_right() {
    let rig = Rig::new();
    rig.runtime.block_on(async {
        let (_, path) = rig.attempt().await;
        let right = sign(&path, BODY.as_bytes());
        let body = BODY.as_bytes();
        let bare = right.trim_end_matches('=');
        let hex: String = STANDARD
            .decode(&right)
            .unwrap()
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        let table = [
            String::new(),
            bare.to_owned(),
            format!("{right}="),
            format!("{right},{right}"),
            format!("{right}{right}"),
            format!("sha1={right}"),
            right.to_lowercase(),
            hex,
            right[..24].to_owned(),
            sign(&path, b""),
            sign("", body),
            sign(&format!("{path}?"), body),
        ];
        for signature in table {
            let answer = call(&rig, &path, signature.as_bytes(), body, FORM)
                .await
                .unwrap();
            assert_eq!(answer.status, 403, "{signature}");
        }
        // Said twice, it is neither.
        let request = axum::http::Request::post(&path)
            .header("content-type", FORM)
            .header("x-twilio-signature", &right)
            .header("x-twilio-signature", &right);
        assert_eq!(
            rig.send(request.body(Body::from(BODY)).unwrap())
                .await
                .status,
            403
        );
        // Another account's call, signed with our token.
        let other = BODY.replace("AC1", "AC2");
        let signature = sign(&path, other.as_bytes());
        let answer = call(&rig, &path, signature.as_bytes(), other.as_bytes(), FORM).await;
        assert_eq!(answer.unwrap().status, 403);
        assert_eq!(rig.waiting().await, 0);
    });
}

/// Genuine callbacks that say odd things: taken or refused, and what is taken can be worked off.
#[test]
fn genuine_callbacks_may_say_anything() {
    let rig = Rig::new();
    let (_, path) = rig.runtime.block_on(rig.attempt());
    let name = select(&[
        "CallStatus",
        "AnsweredBy",
        "SequenceNumber",
        "CallDuration",
        "SipResponseCode",
        "CallSid",
        "Timestamp",
        "X",
        "",
    ]);
    let value = prop_oneof![
        "\\PC{0,12}",
        any::<i64>().prop_map(|n| n.to_string()),
        select(&[
            "completed",
            "ringing",
            "in-progress",
            "failed",
            "human",
            "machine_start",
            "CA1",
            "\0",
            "é\u{feff}"
        ])
        .prop_map(str::to_owned),
        (0..300_usize).prop_map(|n| "x".repeat(n)),
    ];
    let more = prop::collection::vec((name, value), 0..10);
    let token = prop_oneof![Just(String::new()), "[!-~]{0,30}", "[!-~]{120,200}"];
    cases(
        1_500,
        (more, any::<bool>(), token),
        |(more, named, token)| {
            let mut form = form_urlencoded::Serializer::new(String::new());
            form.append_pair("AccountSid", ACCOUNT).extend_pairs(&more);
            if named {
                form.append_pair("CallSid", "CA1")
                    .append_pair("CallStatus", "ringing");
            }
            let body = form.finish();
            let request = axum::http::Request::post(&path)
                .header("content-type", FORM)
                .header("x-twilio-signature", sign(&path, body.as_bytes()))
                .header("i-twilio-idempotency-token", token);
            rig.runtime.block_on(async {
                let answer = rig
                    .send(request.body(Body::from(body.clone())).unwrap())
                    .await;
                let event = event(&rig).await;
                match answer.status.as_u16() {
                    204 => {
                        let event = event.expect("what was taken is queued");
                        assert!(bson::serialize_to_vec(&event).is_ok(), "{event:?}");
                        apply_events(&rig.fleet, vec![event]).await.unwrap();
                    }
                    400 => assert!(event.is_none()),
                    other => panic!("{other}: {body}"),
                }
            });
            Ok(())
        },
    );
}

/// A body as large as is taken, of bytes that take more room as text.
#[test]
fn evidence_is_kept_in_part() {
    let rig = Rig::new();
    rig.runtime.block_on(async {
        let (_, path) = rig.attempt().await;
        for filler in ["\u{e9}", "%00", "\u{1F980}"] {
            let body = format!(
                "{BODY}&X={}",
                filler.repeat((60_000 - BODY.len()) / filler.len())
            );
            let mut bytes = body.into_bytes();
            bytes.extend([0xFF; 5]);
            let signature = sign(&path, &bytes);
            let answer = call(&rig, &path, signature.as_bytes(), &bytes, FORM)
                .await
                .unwrap();
            assert_eq!(answer.status, 204, "{answer:?}");
            assert!(event(&rig).await.unwrap().raw.len() <= message::MAX_RAW);
        }
    });
}

/// The token alone: whatever is in its place, only the one that we made is right.
#[test]
fn tokens_cannot_be_made() {
    let rig = Rig::new();
    let attempt = AttemptId::parse("cmp_a:+15550100000:1").unwrap();
    let url = rig
        .fleet
        .keys
        .callback_url("", "twilio", &sample::carrier(), &attempt, 1);
    let parts: Vec<&str> = url.split('/').collect();
    let right = [parts[4], parts[5], parts[6]];
    let verify = |[attempt, leg, token]: [&str; 3]| {
        rig.fleet
            .keys
            .verify(&sample::carrier(), attempt, leg, token)
    };
    assert_eq!(verify(right), Ok((attempt.clone(), 1)));
    cases(
        4_000,
        (0..3_usize, edits(), "\\PC{0,40}", any::<bool>()),
        |(which, edits, text, any)| {
            let bytes = if any {
                text.into_bytes()
            } else {
                mutated(right[which].as_bytes(), &edits)
            };
            let Ok(text) = String::from_utf8(bytes) else {
                return Ok(());
            };
            let mut given = right;
            given[which] = &text;
            match verify(given) {
                // Another way to write the same number.
                Ok(proven) => prop_assert_eq!(
                    (proven, which == 1 || text == right[which]),
                    ((attempt.clone(), 1), true)
                ),
                Err(_) => prop_assert_ne!(text, right[which]),
            }
            Ok(())
        },
    );
}
