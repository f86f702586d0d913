use super::*;
use Command::{CallEnded, Later, Never, NoCall, Taken};
use RefusalClass::{BadNumber, CallerIdFault, ConfigFault, DestinationFault, Failover, RetryLater};

fn document(code: &str, detail: &str, pointer: &str) -> Option<ApiErrors> {
    let json = serde_json::json!({"errors": [
        {"code": code, "title": "t", "detail": detail, "source": {"pointer": pointer}}
    ]});
    ApiErrors::read(json.to_string().as_bytes())
}

fn judged(status: u16, code: &str, detail: &str, pointer: &str) -> Verdict {
    judge(status, document(code, detail, pointer).as_ref())
}

#[test]
fn codes_are_judged_by_the_table() {
    let table = [
        (RetryLater, "10008", ""),
        (RetryLater, "10011", ""),
        (RetryLater, "90103", ""),
        (BadNumber, "10002", "/to"),
        (BadNumber, "10015", "/to"),
        (BadNumber, "10016", "/to"),
        (CallerIdFault, "10002", "/from"),
        (CallerIdFault, "10015", "/from"),
        (CallerIdFault, "10016", "/from"),
        (ConfigFault, "10002", ""),
        (ConfigFault, "10016", "/to/0"),
        (ConfigFault, "10015", "/connection_id"),
        (ConfigFault, "10003", "/to"),
        (ConfigFault, "10004", "/to"),
        (ConfigFault, "10005", "/connection_id"),
        (ConfigFault, "10006", ""),
        (ConfigFault, "10009", ""),
        (ConfigFault, "10010", ""),
        (ConfigFault, "10014", ""),
        (ConfigFault, "10023", ""),
        (ConfigFault, "10028", ""),
        (ConfigFault, "90018", "/to"),
        (ConfigFault, "90099", "/to"),
        (ConfigFault, "", "/to"),
    ];
    for (class, code, pointer) in table {
        for status in [400, 404, 422] {
            let verdict = judged(status, code, "no", pointer);
            assert_eq!(
                verdict,
                Verdict::Refused(class),
                "{status} {code} {pointer}"
            );
        }
        // The status comes first.
        for status in [408, 500, 502, 503, 504] {
            assert_eq!(
                judged(status, code, "D13", pointer),
                Verdict::Unclear,
                "{status} {code}"
            );
        }
        let (later, ours) = (Verdict::Refused(RetryLater), Verdict::Refused(ConfigFault));
        assert_eq!(judged(429, code, "D11", pointer), later, "{code}");
        for status in [401, 402] {
            assert_eq!(
                judged(status, code, "D11", pointer),
                ours,
                "{status} {code}"
            );
        }
    }
}

#[test]
fn reasons_of_a_403_are_judged_by_the_table() {
    let table: [(RefusalClass, Meaning, &[&str]); 6] = [
        (
            RetryLater,
            Meaning::Later,
            &["D1", "D2", "D3", "D9", "D22", "P05", "P5"],
        ),
        (
            Failover,
            Meaning::Elsewhere,
            &[
                "PE1", "PE2", "PE3", "PE4", "PE5", "PE6", "D40", "D41", "D58",
            ],
        ),
        (
            BadNumber,
            Meaning::BadNumber,
            &["D11", "D14", "D50", "D53", "D59"],
        ),
        (
            DestinationFault,
            Meaning::Country,
            &["D12", "D13", "D24", "D39"],
        ),
        (
            CallerIdFault,
            Meaning::CallerId,
            &["D35", "D36", "D46", "D49", "D51", "D54", "D63", "D64"],
        ),
        (
            ConfigFault,
            Meaning::Account,
            &[
                "D7", "D10", "D15", "D16", "D17", "D25", "D26", "D29", "D38", "D44", "D60", "D99",
                "P99",
            ],
        ),
    ];
    for (class, meaning, reasons) in table {
        for reason in reasons {
            let detail = format!("Dialed number is not allowed {reason}");
            let errors = document("10010", &detail, "/to");
            let errors = errors.as_ref();
            assert_eq!(judge(403, errors), Verdict::Refused(class), "{reason}");
            let (error, found) = errors.unwrap().decisive(403).unwrap();
            assert_eq!(found, Some(meaning), "{reason}");
            let kept = reason.replace("P05", "P5");
            assert_eq!(error.name(403), format!("10010 {kept}"));
            // Elsewhere the letters are only letters.
            let elsewhere = judged(422, "10004", &detail, "/to");
            assert_eq!(elsewhere, Verdict::Refused(ConfigFault), "{reason}");
        }
    }
    assert_eq!(
        judged(403, "10010", "no reason", ""),
        Verdict::Refused(ConfigFault)
    );
    assert_eq!(
        judged(403, "10016", "no reason", "/to"),
        Verdict::Refused(BadNumber)
    );
}

#[test]
fn a_reason_is_the_last_word_that_is_one() {
    let table = [
        (
            "Dialed number is not included in whitelisted countries D13",
            Some(("D", 13)),
        ),
        ("limit D1 reached, see D22.", Some(("D", 22))),
        ("(PE3)", Some(("PE", 3))),
        ("P05", Some(("P", 5))),
        ("3D13 D D1234 PE D 13 d13 XD13", None),
        ("", None),
    ];
    for (detail, reason) in table {
        let reason = reason.map(|(letters, number)| Reason { letters, number });
        assert_eq!(Reason::last_in(detail), reason, "{detail}");
    }
}

#[test]
fn the_number_is_at_fault_only_if_nothing_else_is() {
    let error = |code: &str, pointer: &str| serde_json::json!({"code": code, "title": "t", "source": {"pointer": pointer}});
    let table = [
        (vec![error("10016", "/to")], BadNumber),
        (
            vec![error("10016", "/to"), error("10002", "/to")],
            BadNumber,
        ),
        (
            vec![error("10016", "/to"), error("10016", "/from")],
            CallerIdFault,
        ),
        (
            vec![error("10015", "/connection_id"), error("10016", "/to")],
            ConfigFault,
        ),
        (vec![error("10016", "/to"), error("10011", "")], RetryLater),
    ];
    for (errors, class) in table {
        let json = serde_json::json!({ "errors": errors }).to_string();
        let errors = ApiErrors::read(json.as_bytes());
        assert_eq!(
            judge(422, errors.as_ref()),
            Verdict::Refused(class),
            "{json}"
        );
    }
}

#[test]
fn statuses_without_an_error_document() {
    let refused = Verdict::Refused;
    let table = [
        (429, refused(RetryLater)),
        (401, refused(ConfigFault)),
        (402, refused(ConfigFault)),
        (403, refused(ConfigFault)),
        (400, Verdict::Unclear),
        (404, Verdict::Unclear),
        (408, Verdict::Unclear),
        (422, Verdict::Unclear),
        (302, Verdict::Unclear),
        (307, Verdict::Unclear),
        (500, Verdict::Unclear),
        (502, Verdict::Unclear),
        (503, Verdict::Unclear),
        (504, Verdict::Unclear),
    ];
    for (status, verdict) in table {
        assert_eq!(judge(status, None), verdict, "{status}");
    }
}

#[test]
fn only_telnyxs_own_document_counts() {
    for body in [
        "",
        "<html>Bad Request</html>",
        "[]",
        "{}",
        r#"{"errors":[]}"#,
        r#"{"errors":[{}]}"#,
        r#"{"errors":"no"}"#,
        r#"{"error":{"code":"10016"}}"#,
    ] {
        assert!(ApiErrors::read(body.as_bytes()).is_none(), "{body}");
    }
    let number = ApiErrors::read(br#"{"errors":[{"code":10011}]}"#).unwrap();
    assert_eq!(judge(400, Some(&number)), Verdict::Refused(RetryLater));
}

#[test]
fn no_code_is_listed_twice() {
    let mut codes: Vec<u32> = CODES.iter().flat_map(|(_, codes)| codes.to_vec()).collect();
    let mut reasons: Vec<_> = REASONS
        .iter()
        .flat_map(|(_, reasons)| reasons.to_vec())
        .collect();
    let (many, more) = (codes.len(), reasons.len());
    codes.sort_unstable();
    codes.dedup();
    reasons.sort_unstable();
    reasons.dedup();
    assert_eq!((codes.len(), reasons.len()), (many, more));
}

#[test]
fn commands_are_judged_by_the_table() {
    let table = [
        (200, None, Taken),
        (422, Some("90018"), CallEnded),
        (404, Some("90018"), CallEnded),
        (422, Some("90015"), NoCall),
        (404, Some("10005"), NoCall),
        (422, Some("90034"), Later),
        (429, Some("10011"), Later),
        (429, None, Later),
        (401, Some("10009"), Later),
        (403, Some("10010"), Later),
        (408, None, Later),
        (500, Some("90018"), Later),
        (502, None, Later),
        (302, None, Later),
        // A gateway's page says nothing about a call.
        (404, None, Later),
        (422, None, Later),
        (422, Some("10015"), Never),
        (422, Some("90040"), Never),
        (400, Some("10004"), Never),
    ];
    for (status, code, expected) in table {
        let errors = code.and_then(|code| document(code, "no", ""));
        assert_eq!(
            command(status, errors.as_ref()),
            expected,
            "{status} {code:?}"
        );
    }
}
