//! Every ready-made flow, on the shapes of two carriers, with everybody who can be at the other end:
//! what the network heard is what the flow says. One process, and all calls at once.

mod scenes;

use std::time::Duration;

use dialfleet_domain::flow::ready;
use dialfleet_simulator::{
    Account, Network, Person, Script, SimulatorConfig, TelnyxAccount, TwilioAccount,
};
use dialfleet_tests::fleet::{ACCOUNT, TOKEN, TestFleet};
use serde_json::{Value, json};

use self::scenes::{BUSY_DESK, COMPANY, DESK, Heard, Scene, scenes};
use crate::fleet::judge;

const TWILIO: &str = "twilio";
const TELNYX: &str = "telnyx";
/// Slow enough that a busy machine is on time for a person who talks.
const SPEED: f64 = 10.0;
const LIMIT: u32 = 20;
const BOUND: Duration = Duration::from_secs(150);

fn network(config: &mut SimulatorConfig) {
    let twilio = TwilioAccount {
        name: TWILIO.to_owned(),
        account_sid: ACCOUNT.to_owned(),
        auth_token: TOKEN.to_owned(),
        cps: None,
    };
    config.accounts = vec![
        Account::Twilio(twilio),
        Account::Telnyx(TelnyxAccount::new("KEYtest", "7267")),
    ];
    config.speed = SPEED;
}

async fn two_carriers() -> TestFleet {
    let mut fleet = TestFleet::embedded(network).await.unwrap();
    let base = fleet.simulator.base_url();
    let public_key = TelnyxAccount::new("KEYtest", "7267").public_key();
    let toml = format!(
        r#"
[[carrier]]
id = "{TELNYX}"
kind = "telnyx"
base_url = "{base}"
api_key = "KEYtest"
connection_id = "7267"
public_key = "{public_key}"
cps = 25
caller_ids = ["+442079460998"]

[[carrier]]
id = "{TWILIO}"
kind = "twilio"
base_url = "{base}"
account_sid = "{ACCOUNT}"
auth_token = {{ env = "SIM_TOKEN" }}
cps = 100
caller_ids = ["+442079460999"]
"#
    );
    fleet.carriers(&toml).unwrap();
    fleet.start_api("up").await.unwrap();
    fleet
}

fn campaign(carrier: &str, flow: &ready::Ready) -> Value {
    let flow_json: Value = serde_json::from_str(flow.json).unwrap();
    json!({
        "name": format!("{} on {carrier}", flow.name),
        "concurrency": LIMIT,
        "carriers": [carrier],
        "flow": flow_json,
        "amd": { "mode": "async" },
        "retry": { "max_attempts": 1 },
    })
}

/// A call that is to be judged.
struct Call {
    about: String,
    phone: String,
    scene: Scene,
}

fn answer(network: &Network, phone: &str, person: Person) {
    let script = Script::Person {
        ring_ms: 1_000,
        person,
    };
    network.set_script(phone, script);
}

/// The lines of a call, without what happens by itself.
fn lines(network: &Network, phone: &str) -> Vec<String> {
    let calls = network.heard_by(phone);
    assert_eq!(calls.len(), 1, "{phone} is called once");
    let lines = calls[0].iter().map(|heard| heard.sound.to_string());
    let own = |line: &String| line != "beep" && !line.starts_with("paused");
    lines.filter(own).collect()
}

fn faults(network: &Network, call: &Call) -> Option<String> {
    let Call {
        about,
        phone,
        scene,
    } = call;
    let heard = lines(network, phone);
    let answered = format!("answered by {}", scene.person.who.party().as_str());
    let right = heard.split_first().is_some_and(|(first, rest)| {
        *first == answered
            && match &scene.heard {
                Heard::All(expected) => rest == expected,
                Heard::Broken { flow, message, by } => {
                    is_broken(rest, flow, message.as_deref(), by)
                }
            }
    });
    let all = || network.heard_by(phone);
    (!right).then(|| {
        format!(
            "{about}:\n  heard    {heard:?}\n  expected {:?}\n  {:?}",
            scene.heard,
            all()
        )
    })
}

/// Part of the flow; then the message, of which only the last telling counts; then the end.
fn is_broken(heard: &[String], flow: &[String], message: Option<&str>, by: &str) -> bool {
    let Some((end, said)) = heard.split_last() else {
        return false;
    };
    let is = |line: &String, text: &str| {
        let rest = line.strip_prefix(text).unwrap_or(line);
        let when = rest.strip_suffix(", cut short").unwrap_or(rest);
        ["", " before the beep", " after the beep"].contains(&when)
    };
    let told = said
        .iter()
        .zip(flow)
        .take_while(|(line, text)| is(line, text));
    let (told, rest) = said.split_at(told.count());
    let left = match message {
        None => rest.is_empty(),
        Some(text) => {
            rest.iter().all(|line| is(line, text))
                && rest.last() == Some(&format!("{text} after the beep"))
        }
    };
    // A stream does not say how much of it was heard.
    let open = |line: &String| line.ends_with(", cut short") || line.starts_with("streamed");
    let whole = told.len() == flow.len() && !told.last().is_some_and(open);
    end == by && left && !whole
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_hears_what_the_flow_says_on_both_carriers() {
    let fleet = two_carriers().await;
    let network = fleet.simulator.network().clone();
    let talks = Script::Human {
        ring_ms: 1_000,
        talk_ms: 5_000,
    };
    network.set_script(DESK, talks);
    network.set_script(BUSY_DESK, Script::Busy);
    let (mut calls, mut campaigns) = (Vec::new(), Vec::new());
    for carrier in [TWILIO, TELNYX] {
        for flow in &ready::ALL {
            let mut csv = String::from("phone,company,desk\n");
            for scene in scenes(flow.name) {
                let phone = format!("+442079460{:03}", calls.len());
                answer(&network, &phone, scene.person.clone());
                csv.push_str(&format!("{phone},{},{}\n", *COMPANY, scene.desk));
                calls.push(Call {
                    about: format!("{} on {carrier}, {}", flow.name, scene.name),
                    phone,
                    scene,
                });
            }
            let id = fleet.launch(campaign(carrier, flow), csv).await;
            campaigns.push(id.unwrap());
        }
    }
    for id in &campaigns {
        fleet.done(id, BOUND).await;
    }
    judge(&fleet, LIMIT);
    let wrong: Vec<String> = calls
        .iter()
        .filter_map(|call| faults(&network, call))
        .collect();
    assert!(
        wrong.is_empty(),
        "{} of {} calls:\n{}\n{}",
        wrong.len(),
        calls.len(),
        wrong.join("\n"),
        fleet.log()
    );
}
