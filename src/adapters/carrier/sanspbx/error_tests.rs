use super::*;
use RefusalClass::{BadNumber, CallerIdFault, ConfigFault, Failover, RetryLater};

fn judge(status: u16, body: &str) -> Verdict {
    let judge = Judge::new(&BTreeMap::new());
    judge.judge(status, Document::read(body.as_bytes()).as_ref())
}

fn said(message: &str) -> String {
    serde_json::json!({"status": "error", "msg": message}).to_string()
}

#[test]
fn sentences_are_judged_by_the_table() {
    let refused = Verdict::Refused;
    let table = [
        ("Invalid token", Verdict::TokenRefused),
        ("INVALID APITOKEN.", Verdict::TokenRefused),
        (
            "Token has expired, please login again",
            Verdict::TokenRefused,
        ),
        ("token_expired", Verdict::TokenRefused),
        ("Unauthorized", Verdict::TokenRefused),
        ("Too many requests", refused(RetryLater)),
        ("CPS rate-limit hit", refused(RetryLater)),
        ("Channel limit exceeded", refused(RetryLater)),
        ("No channels available", refused(RetryLater)),
        ("Insufficient balance in account", refused(ConfigFault)),
        ("Account suspended", refused(ConfigFault)),
        ("Access denied for this IP", refused(ConfigFault)),
        ("Invalid caller_id", refused(CallerIdFault)),
        ("Invalid DID", refused(CallerIdFault)),
        ("Invalid call_to", refused(Failover)),
        ("invalid mobile number", refused(Failover)),
        ("Invalid appid", refused(ConfigFault)),
        ("Missing parameter: call_to", refused(ConfigFault)),
        ("Invalid request", refused(ConfigFault)),
    ];
    for (message, verdict) in table {
        assert_eq!(judge(200, &said(message)), verdict, "{message}");
        assert_eq!(judge(400, &said(message)), verdict, "{message} with 400");
        assert_eq!(
            judge(500, &said(message)),
            Verdict::Unclear,
            "{message} with 500"
        );
    }
}

#[test]
fn sentences_that_could_be_about_a_placed_call_are_unclear() {
    for message in [
        "",
        "failed",
        "Call failed",
        "call did not connect",
        "Originate failed",
        "No answer",
        "User busy",
        "Something went wrong",
        "Internal error",
        "invalidated tokens",
        "numbers",
        "time limit exceeded",
        "the customer did not answer",
    ] {
        assert_eq!(judge(200, &said(message)), Verdict::Unclear, "{message}");
        // A 4xx with the exchange's own document is a refusal whatever it says.
        let refused = Verdict::Refused(ConfigFault);
        assert_eq!(judge(422, &said(message)), refused, "{message} with 422");
    }
}

#[test]
fn statuses_with_and_without_a_document() {
    let refused = |class| Verdict::Refused(class);
    let own = said("no");
    let table = [
        (401, "", Verdict::TokenRefused),
        (401, own.as_str(), Verdict::TokenRefused),
        (429, "", refused(RetryLater)),
        (429, own.as_str(), refused(RetryLater)),
        (402, "<html>", refused(ConfigFault)),
        (403, "<html>", refused(ConfigFault)),
        (404, "<html>", refused(ConfigFault)),
        (405, "", refused(ConfigFault)),
        (407, "", refused(ConfigFault)),
        (413, "", refused(ConfigFault)),
        (415, "", refused(ConfigFault)),
        (400, own.as_str(), refused(ConfigFault)),
        (404, own.as_str(), refused(ConfigFault)),
        (400, "<html>", Verdict::Unclear),
        (422, "", Verdict::Unclear),
        (408, own.as_str(), Verdict::Unclear),
        (409, own.as_str(), Verdict::Unclear),
        (200, "", Verdict::Unclear),
        (200, "<html>", Verdict::Unclear),
        (200, "[]", Verdict::Unclear),
        (200, r#"{"msg":"Invalid token"}"#, Verdict::Unclear),
        (200, r#"{"status":"success"}"#, Verdict::Unclear),
        (
            200,
            r#"{"status":"success","msg":"Invalid token"}"#,
            Verdict::Unclear,
        ),
        // It names a call and says that it failed: believe neither.
        (
            200,
            r#"{"status":"error","msg":"channel limit","callid":"api-1"}"#,
            Verdict::Unclear,
        ),
        (301, "", Verdict::Unclear),
        (307, own.as_str(), Verdict::Unclear),
        (500, own.as_str(), Verdict::Unclear),
        (502, "", Verdict::Unclear),
        (503, own.as_str(), Verdict::Unclear),
        (504, "<html>", Verdict::Unclear),
    ];
    for (status, body, verdict) in table {
        assert_eq!(judge(status, body), verdict, "{status} {body}");
    }
}

#[test]
fn the_configuration_adds_rows_and_overrules_the_table() {
    let rows = BTreeMap::from([
        ("Subscriber barred!".to_owned(), BadNumber),
        ("channel limit".to_owned(), ConfigFault),
        (" - ".to_owned(), BadNumber),
    ]);
    let judge = Judge::new(&rows);
    let of = |message: &str| judge.judge(200, Document::read(said(message).as_bytes()).as_ref());
    assert_eq!(of("the subscriber barred it"), Verdict::Refused(BadNumber));
    assert_eq!(of("Channel limit!"), Verdict::Refused(ConfigFault));
    assert_eq!(of("barred"), Verdict::Unclear);
}

#[test]
fn no_saying_is_listed_twice_and_all_are_plain() {
    let all: Vec<&str> = SAYINGS
        .iter()
        .flat_map(|(_, parts)| parts.iter().copied())
        .collect();
    for (n, words) in all.iter().enumerate() {
        assert_eq!(&plain(words), words);
        assert!(!all[n + 1..].contains(words), "{words}");
    }
}

#[test]
fn a_call_is_named_in_many_places() {
    for body in [
        r#"{"status":"success","data":{"msg":{"callid":"api-2-1"}}}"#,
        r#"{"status":"success","data":{"callid":"api-2-1"}}"#,
        r#"{"Status":"SUCCESS","Data":{"CallID":"api-2-1"}}"#,
        r#"{"status":"success","call_id":"api-2-1","msg":"queued"}"#,
    ] {
        let document = Document::read(body.as_bytes()).unwrap();
        assert!(document.is_success(), "{body}");
        assert_eq!(document.call_id().as_deref(), Some("api-2-1"), "{body}");
    }
    for body in [
        r#"{"status":"success","data":{"callid":""}}"#,
        r#"{"status":"success","data":{"callid":null}}"#,
        r#"{"status":"success","data":["callid"]}"#,
        r#"{"status":"success","data":{"a":{"b":{"c":{"d":{"callid":"x"}}}}}}"#,
    ] {
        assert_eq!(
            Document::read(body.as_bytes()).unwrap().call_id(),
            None,
            "{body}"
        );
    }
    for body in ["", "{}", "[]", "\"status\"", r#"{"code":1}"#, "<html>"] {
        assert!(Document::read(body.as_bytes()).is_none(), "{body}");
    }
}
