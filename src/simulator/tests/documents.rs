//! TwiML, and who listens to it.

use super::{Callback, SID, SPEED, World, person};
use crate::{Network, Person, Script, SimulatorConfig, Who};

fn human(keys: &[&str]) -> Person {
    person(Who::Human, keys)
}

pub(super) fn heard(network: &Network, phone: &str) -> Vec<String> {
    let calls = network.heard_by(phone);
    let all = calls.iter().flatten();
    all.map(|heard| heard.sound.to_string()).collect()
}

impl World {
    pub(super) async fn at_speed(speed: f64) -> Self {
        Self::with(SimulatorConfig {
            speed,
            ..SimulatorConfig::new(SID, super::TOKEN)
        })
        .await
    }

    pub(super) fn is(&self, phone: &str, person: Person) {
        let ring_ms = 500;
        let script = Script::Person { ring_ms, person };
        self.sim.network().set_script(phone, script);
    }

    pub(super) fn serves(&self, path: &str, kind: &'static str, document: &str) {
        let mut documents = self.documents.lock().unwrap();
        documents.insert(path.to_owned(), (kind, document.to_owned()));
    }

    /// A call whose end alone is told of.
    pub(super) async fn call(&self, phone: &str, more: &[(&'static str, String)]) -> String {
        let mut form = self.form(phone, &format!("camp:{phone}:1"));
        form.retain(|(key, _)| {
            *key != "StatusCallbackEvent" && !more.iter().any(|(own, _)| own == key)
        });
        if more.iter().any(|(key, _)| *key == "Url") {
            form.retain(|(key, _)| *key != "Twiml");
        }
        form.extend(more.iter().cloned());
        let (status, call) = self.post(&self.calls_url(), &form).await.unwrap();
        assert_eq!(status, 201, "{call}");
        call["sid"].as_str().unwrap().to_owned()
    }

    pub(super) async fn update(&self, sid: &str, form: &[(&str, String)]) -> u16 {
        let path = format!("/2010-04-01/Accounts/{SID}/Calls/{sid}.json");
        let url = format!("{}{path}", self.sim.base_url());
        self.post(&url, form).await.unwrap().0
    }

    pub(super) async fn next_at(&mut self, path: &str) -> Callback {
        loop {
            let callback = self.next().await;
            if callback.path == path {
                return callback;
            }
        }
    }
}

/// Verbs, who listens to them, and what is heard.
fn inline() -> Vec<(&'static str, Person, Vec<&'static str>)> {
    let ends = "hung up by us";
    let leaves = Person {
        stays_ms: 4_000,
        ..Person::default()
    };
    vec![
        (
            "<Say voice=\"Polly.Amy\" language=\"en-GB\">Tom &amp; Jerry</Say><Pause length=\"2\"/><Play loop=\"2\">http://a.example/b.mp3</Play>",
            human(&[]),
            vec![
                "said \"Tom & Jerry\"",
                "paused 2000 ms",
                "played http://a.example/b.mp3",
                "played http://a.example/b.mp3",
                ends,
            ],
        ),
        (
            "<Say>One <break time=\"1s\"/><emphasis>two</emphasis></Say><Hangup/><Say>Never</Say>",
            human(&[]),
            vec!["said \"One two\"", ends],
        ),
        ("<Reject/>", human(&[]), vec![ends]),
        ("", human(&[]), vec![ends]),
        (
            "<Say>Short</Say><Pause length=\"60\"/>",
            leaves,
            vec!["said \"Short\"", "paused 60000 ms", "hung up by the callee"],
        ),
        (
            "<Play>http://nobody.invalid/a.mp3</Play><Say>On</Say>",
            human(&[]),
            vec!["broken: 11200", "said \"On\"", ends],
        ),
        (
            "<Gather timeout=\"2\"><Say>Press</Say></Gather><Say>Nothing</Say>",
            human(&[]),
            vec!["said \"Press\"", "said \"Nothing\"", ends],
        ),
        (
            "<Dial timeout=\"10\"><Number>+15550100200</Number></Dial><Say>Sorry</Say>",
            human(&[]),
            vec!["passed on to +15550100200: busy", "said \"Sorry\"", ends],
        ),
        (
            "<Dial timeLimit=\"5\"><Sip>sip:desk@a.example</Sip></Dial><Say>Bye</Say>",
            human(&[]),
            vec![
                "passed on to sip:desk@a.example: completed",
                "said \"Bye\"",
                ends,
            ],
        ),
        (
            "<Connect><Stream url=\"wss://a.example/agent\"><Parameter name=\"t\" value=\"1\"/></Stream></Connect><Say>Bye</Say>",
            human(&[]),
            vec!["streamed to wss://a.example/agent", "said \"Bye\"", ends],
        ),
        (
            "<Connect><Stream url=\"wss://nobody.invalid/agent\"/></Connect><Say>Bye</Say>",
            human(&[]),
            vec!["broken: 31920", "said \"Bye\"", ends],
        ),
        (
            "<Start><Recording recordingStatusCallback=\"http://a.example/r\"/></Start><Say>On</Say><Stop><Recording/></Stop><Enqueue>desk</Enqueue><Say>Off</Say>",
            human(&[]),
            vec![
                "recording started",
                "said \"On\"",
                "recording stopped",
                "passed on to queue:desk: busy",
                "said \"Off\"",
                ends,
            ],
        ),
        (
            "<Say>Leave word</Say><Record maxLength=\"4\" playBeep=\"true\"/><Say>Thanks</Say>",
            human(&[]),
            vec![
                "said \"Leave word\"",
                "recording started",
                "recording stopped",
                "said \"Thanks\"",
                ends,
            ],
        ),
    ]
}

#[tokio::test]
async fn inline_documents_are_executed_verb_by_verb() {
    let mut world = World::at_speed(SPEED).await;
    let table = inline();
    let desk = Script::Human {
        ring_ms: 1_000,
        talk_ms: 60_000,
    };
    world.sim.network().set_script("sip:desk@a.example", desk);
    world.sim.network().set_script("queue:desk", Script::Busy);
    let phone = |n: usize| format!("+155501240{n:02}");
    for (n, (verbs, person, _)) in table.iter().enumerate() {
        world.is(&phone(n), person.clone());
        let document = format!("<Response>{verbs}</Response>");
        world.call(&phone(n), &[("Twiml", document)]).await;
    }
    for end in world.next_n(table.len()).await {
        assert_eq!(end.status(), "completed");
    }
    for (n, (verbs, _, expected)) in table.iter().enumerate() {
        let got = heard(world.sim.network(), &phone(n));
        assert_eq!(got[0], "answered by human");
        assert_eq!(got[1..], *expected, "{verbs}");
    }
}

#[tokio::test]
async fn faulty_documents_end_the_call_and_the_ledger_says_why() {
    let mut world = World::at_speed(SPEED).await;
    let table = [
        ("<Response><Say>open</Response>", 12100),
        ("<Response><Say>&nbsp;</Say></Response>", 12100),
        ("<Response/><Response/>", 12100),
        ("<response/>", 12100),
        ("plain", 12100),
        ("<!DOCTYPE a><Response/>", 12100),
        ("<Response><Shout>a</Shout></Response>", 12200),
        ("<Response>text</Response>", 12200),
        ("<Response a=\"1\"/>", 12200),
        ("<Response><Say loud=\"1\">a</Say></Response>", 12200),
        ("<Response><Say loop=\"-1\">a</Say></Response>", 12200),
        ("<Response><Say><Pause/></Say></Response>", 12200),
        ("<Response><Pause length=\"soon\"/></Response>", 12200),
        ("<Response><Gather numDigits=\"0\"/></Response>", 12200),
        ("<Response><Gather finishOnKey=\"12\"/></Response>", 12200),
        ("<Response><Gather><Hangup/></Gather></Response>", 12200),
        ("<Response><Gather method=\"PUT\"/></Response>", 12200),
        ("<Response><Dial><Queue>a</Queue></Dial></Response>", 12200),
        (
            "<Response><Dial timeout=\"1\">+15550100200</Dial></Response>",
            12200,
        ),
        ("<Response><Connect/></Response>", 12200),
        ("<Response><Start><Siprec/></Start></Response>", 12200),
        (
            "<Response><Start><Recording loud=\"1\"/></Start></Response>",
            12200,
        ),
        ("<Response><Enqueue/></Response>", 12200),
        (
            "<Response><Connect><Stream url=\"ws://a.example\"/></Connect></Response>",
            12200,
        ),
        (
            "<Response><Connect><Stream url=\"wss://a.example?a=1\"/></Connect></Response>",
            12200,
        ),
        ("<Response><Say> </Say></Response>", 13520),
        ("<Response><Play>file</Play></Response>", 13420),
        ("<Response><Dial>5550100</Dial></Response>", 13223),
        (
            "<Response><Dial callerId=\"me\">+15550100200</Dial></Response>",
            13214,
        ),
        ("<Response><Redirect>next</Redirect></Response>", 11100),
        (
            "<Response><Gather actionOnEmptyResult=\"true\" timeout=\"1\"/></Response>",
            11100,
        ),
    ];
    let phone = |n: usize| format!("+155501250{n:02}");
    for (n, (document, _)) in table.iter().enumerate() {
        world.is(&phone(n), human(&[]));
        world
            .call(&phone(n), &[("Twiml", (*document).to_owned())])
            .await;
    }
    for end in world.next_n(table.len()).await {
        assert_eq!(end.status(), "completed", "Twilio apologises and hangs up");
    }
    for (n, (document, code)) in table.iter().enumerate() {
        let got = heard(world.sim.network(), &phone(n));
        assert_eq!(
            got[1..],
            [format!("broken: {code}"), "hung up by us".to_owned()],
            "{document}"
        );
    }
}

#[tokio::test]
async fn documents_are_fetched_and_told_what_happened() {
    let mut world = World::at_speed(SPEED).await;
    let gather = "<Response><Gather numDigits=\"1\" action=\"/keys?a=1\" timeout=\"3\"><Say>Press a key now</Say></Gather><Redirect method=\"POST\">/again</Redirect></Response>";
    world.serves("/flow", "text/xml; charset=utf-8", gather);
    world.serves("/again", "application/xml", gather);
    world.serves(
        "/keys",
        "text/xml",
        "<Response><Dial action=\"/dialed\" timeout=\"20\">+15550126099</Dial></Response>",
    );
    world.serves(
        "/dialed",
        "text/xml",
        "<Response><Say>Done</Say></Response>",
    );
    world.sim.network().set_script(
        "+15550126099",
        Script::Human {
            ring_ms: 2_000,
            talk_ms: 7_000,
        },
    );
    let to = "+15550126001";
    let once = Person {
        interrupts: true,
        ..human(&["", "5"])
    };
    world.is(to, once);
    let sid = world
        .call(to, &[("Url", format!("{}/flow", world.origin))])
        .await;
    let first = world.next_at("/flow").await;
    for (field, expected) in [
        ("CallSid", sid.as_str()),
        ("AccountSid", SID),
        ("To", to),
        ("CallStatus", "in-progress"),
        ("Direction", "outbound-api"),
    ] {
        assert_eq!(first.get(field), expected);
    }
    assert!(!first.fields.contains_key("Digits"));
    world.next_at("/again").await;
    assert_eq!(world.next_at("/keys").await.get("Digits"), "5");
    let dialed = world.next_at("/dialed").await;
    assert_eq!(
        (dialed.get("DialCallStatus"), dialed.get("DialCallDuration")),
        ("completed", "7")
    );
    world.until_end().await;
    assert_eq!(
        heard(world.sim.network(), to),
        [
            "answered by human",
            "said \"Press a key now\"",
            "said \"Press a key now\", cut short",
            "pressed \"5\"",
            "passed on to +15550126099: completed",
            "said \"Done\"",
            "hung up by us",
        ]
    );
}

#[tokio::test]
async fn a_document_that_cannot_be_had_has_a_fallback_or_ends_the_call() {
    let mut world = World::at_speed(SPEED).await;
    world.serves("/plain", "text/plain", "<Response/>");
    world.serves(
        "/good",
        "text/xml",
        "<Response><Say>Fallback</Say></Response>",
    );
    let origin = world.origin.clone();
    let at = |path: &str| ("Url", format!("{origin}{path}"));
    let fallback = ("FallbackUrl", format!("{origin}/good"));
    let table = [
        (vec![at("/plain")], vec!["broken: 12300"]),
        (vec![at("/none")], vec!["broken: 12300"]),
        (
            vec![("Url", "http://127.0.0.1:9/".to_owned())],
            vec!["broken: 11200"],
        ),
        (
            vec![at("/plain"), fallback],
            vec!["broken: 12300", "said \"Fallback\""],
        ),
    ];
    let phone = |n: usize| format!("+155501270{n:02}");
    for (n, (fields, expected)) in table.into_iter().enumerate() {
        world.is(&phone(n), human(&[]));
        world.call(&phone(n), &fields).await;
        while !world.next().await.is_terminal() {}
        let got = heard(world.sim.network(), &phone(n));
        assert_eq!(got[1..got.len() - 1], expected, "{fields:?}");
    }
}

#[tokio::test]
async fn a_live_call_takes_another_document() {
    let mut world = World::at_speed(SPEED).await;
    let to = "+15550128001";
    world.is(to, human(&[]));
    let long = (
        "Twiml",
        "<Response><Play loop=\"0\">http://a.example/hold.mp3</Play></Response>".to_owned(),
    );
    let answered = ("StatusCallbackEvent", "answered completed".to_owned());
    let sid = world.call(to, &[long.clone(), answered]).await;
    let say = |text: &str| ("Twiml", format!("<Response><Say>{text}</Say></Response>"));
    assert_eq!(
        world.update(&sid, &[say("Early")]).await,
        400,
        "not in progress yet"
    );
    assert_eq!(world.next().await.status(), "in-progress");
    assert_eq!(world.update(&sid, &[say("Instead")]).await, 200);
    assert_eq!(world.next().await.status(), "completed");
    assert_eq!(world.update(&sid, &[say("Late")]).await, 400);
    let both = [say("a"), ("Url", "http://a.example/".to_owned())];
    assert_eq!(world.update(&sid, &both).await, 400);
    let got = heard(world.sim.network(), to);
    let end = &got[got.len() - 3..];
    assert_eq!(end[1..], ["said \"Instead\"", "hung up by us"], "{got:?}");
    assert!(end[0].ends_with(", cut short") || got.len() == 3, "{got:?}");
}
