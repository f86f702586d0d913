//! Who is called by each flow, and what they must hear.

use std::sync::LazyLock;

use dialfleet_simulator::{After, Person, Who};

/// Its name is long: whoever answers is known before it is said to the end, on a busy machine too.
pub(super) static COMPANY: LazyLock<String> = LazyLock::new(|| {
    let places = " of Upper and Lower Somewhere".repeat(16);
    format!("the Example Dental Practice{places}")
});
/// Somebody is there.
pub(super) const DESK: &str = "+442079460990";
/// It is busy.
pub(super) const BUSY_DESK: &str = "+442079460991";

const US: &str = "hung up by us";
const OPTED_OUT: &str = "You will not be called again. Goodbye.";

/// One call.
pub(super) struct Scene {
    pub(super) name: &'static str,
    pub(super) person: Person,
    pub(super) desk: &'static str,
    pub(super) heard: Heard,
}

/// What the network must have heard after the answer.
#[derive(Debug)]
pub(super) enum Heard {
    All(Vec<String>),
    /// The flow, but not to its end, as it was known in time that nobody listens; then, if there is
    /// one, the whole message after the beep.
    Broken {
        flow: Vec<String>,
        message: Option<String>,
        by: &'static str,
    },
}

fn said(text: &str) -> String {
    format!("said {text:?}")
}

fn pressed(keys: &str) -> String {
    format!("pressed {keys:?}")
}

fn cut(line: &str) -> String {
    format!("{line}, cut short")
}

fn us() -> String {
    US.to_owned()
}

fn presses(keys: &[&str]) -> Person {
    Person {
        keys: keys.iter().map(|key| (*key).to_owned()).collect(),
        ..Person::default()
    }
}

fn is(who: Who) -> Person {
    Person {
        who,
        ..Person::default()
    }
}

fn human(name: &'static str, keys: &[&str], heard: Vec<String>) -> Scene {
    Scene {
        name,
        person: presses(keys),
        desk: DESK,
        heard: Heard::All(heard),
    }
}

/// What is said to a listener who answers nothing.
struct Opening {
    /// Everything, with the end.
    all: Vec<String>,
    /// What is left on machines.
    message: Option<String>,
}

/// Those who are the same for every flow.
fn everybody(opening: &Opening) -> Vec<Scene> {
    let machine = |then| {
        is(Who::Machine {
            greeting_ms: 4_000,
            then,
        })
    };
    let broken = |by, message: &Option<String>| {
        let mut flow = opening.all.clone();
        flow.pop();
        let message = message.as_deref().map(said);
        Heard::Broken { flow, message, by }
    };
    let mut left = presses(&["1"]);
    left.stays_ms = 12_000;
    let scene = |name, person, heard| Scene {
        name,
        person,
        desk: DESK,
        heard,
    };
    vec![
        scene("no keys", presses(&[]), Heard::All(opening.all.clone())),
        scene("silence", is(Who::Silence), Heard::All(opening.all.clone())),
        scene("fax", is(Who::Fax), broken(US, &None)),
        scene(
            "early hang-up",
            left,
            broken("hung up by the callee", &None),
        ),
        scene(
            "machine with a beep",
            machine(After::Beep),
            broken(US, &opening.message),
        ),
        scene(
            "machine without a beep",
            machine(After::Silence),
            broken(US, &opening.message),
        ),
    ]
}

pub(super) fn scenes(flow: &str) -> Vec<Scene> {
    match flow {
        "message" => message(),
        "survey" => survey(),
        "appointment" => appointment(),
        "press-1" => press_1(),
        "ai-agent" => {
            let first = "streamed to wss://agent.example.com/calls".to_owned();
            everybody(&Opening {
                all: vec![first, us()],
                message: None,
            })
        }
        "voicemail-only" => {
            let text = format!(
                "Hello, this is {}. We will call again another time. Goodbye.",
                *COMPANY
            );
            let message = format!(
                "Hello there, this is {}. We have a short message for you. Goodbye.",
                *COMPANY
            );
            everybody(&Opening {
                all: vec![said(&text), us()],
                message: Some(message),
            })
        }
        other => panic!("{other} has no scenes"),
    }
}

fn message() -> Vec<Scene> {
    let first = said(&format!(
        "Hello there, this is {}. We have a short message for you. To hear this again, press 1. Not to be called again, press 9.",
        *COMPANY
    ));
    let bye = said("Goodbye.");
    let mut scenes = everybody(&Opening {
        all: vec![first.clone(), bye.clone(), us()],
        message: Some(format!(
            "Hello there, this is {}. We have a short message for you. Goodbye.",
            *COMPANY
        )),
    });
    let again = said("We have a short message for you. Goodbye.");
    let hasty = Person {
        interrupts: true,
        ..presses(&["1"])
    };
    scenes.extend([
        human(
            "keypress",
            &["1"],
            vec![first.clone(), pressed("1"), again.clone(), us()],
        ),
        Scene {
            name: "keypress in the midst",
            person: hasty,
            desk: DESK,
            heard: Heard::All(vec![cut(&first), pressed("1"), again, us()]),
        },
        human(
            "wrong key",
            &["7"],
            vec![first.clone(), pressed("7"), bye, us()],
        ),
        human(
            "opt-out",
            &["9"],
            vec![first, pressed("9"), said(OPTED_OUT), us()],
        ),
    ]);
    scenes
}

fn survey() -> Vec<Scene> {
    let first = said(&format!(
        "Hello there, this is {} with two short questions. Were you satisfied with us? Press 1 for yes, 2 for no, or 9 not to be called again.",
        *COMPANY
    ));
    let none = said("We did not get an answer. Goodbye.");
    let (glad, sorry) = (
        said("We are glad to hear that."),
        said("We are sorry to hear that."),
    );
    let second = said("From 1 to 9, how likely would you recommend us?");
    let thanks = said("Thank you very much. Goodbye.");
    let mut scenes = everybody(&Opening {
        all: vec![first.clone(), first.clone(), none.clone(), us()],
        message: None,
    });
    let twice = vec![
        first.clone(),
        pressed("7"),
        first.clone(),
        pressed("8"),
        none,
        us(),
    ];
    let late = vec![
        first.clone(),
        pressed("7"),
        first.clone(),
        pressed("2"),
        sorry,
        second.clone(),
        pressed("3"),
        thanks.clone(),
        us(),
    ];
    scenes.extend([
        human(
            "keypress",
            &["1", "9"],
            vec![
                first.clone(),
                pressed("1"),
                glad.clone(),
                second.clone(),
                pressed("9"),
                thanks.clone(),
                us(),
            ],
        ),
        human(
            "one answer",
            &["1"],
            vec![
                first.clone(),
                pressed("1"),
                glad,
                second.clone(),
                second,
                thanks,
                us(),
            ],
        ),
        human("wrong keys", &["7", "8"], twice),
        human("wrong key, then a right one", &["7", "2", "3"], late),
        human(
            "opt-out",
            &["9"],
            vec![first, pressed("9"), said(OPTED_OUT), us()],
        ),
    ]);
    scenes
}

/// To somebody, who talks and hangs up first, and to nobody.
fn connected(first: &str, key: &'static str) -> [Scene; 2] {
    let asked = |rest: [String; 2]| {
        let mut all = vec![first.to_owned(), pressed(key), said("One moment, please.")];
        all.extend(rest);
        all
    };
    let yes = asked([format!("passed on to {DESK}: completed"), us()]);
    let sorry = said("Nobody is free at the moment. We will call you back. Goodbye.");
    let mut no = asked([format!("passed on to {BUSY_DESK}: busy"), sorry]);
    no.push(us());
    [
        human("transfer answered", &[key], yes),
        Scene {
            desk: BUSY_DESK,
            ..human("transfer failed", &[key], no)
        },
    ]
}

fn press_1() -> Vec<Scene> {
    let first = said(&format!(
        "Hello there, this is {}. We have an offer for you. Press 1 to talk to somebody, or 9 not to be called again.",
        *COMPANY
    ));
    let bye = said("Goodbye.");
    let mut scenes = everybody(&Opening {
        all: vec![first.clone(), first.clone(), bye.clone(), us()],
        message: None,
    });
    scenes.extend(connected(&first, "1"));
    let twice = vec![
        first.clone(),
        pressed("5"),
        first.clone(),
        pressed("6"),
        bye,
        us(),
    ];
    scenes.extend([
        human("wrong keys", &["5", "6"], twice),
        human(
            "opt-out",
            &["9"],
            vec![first, pressed("9"), said(OPTED_OUT), us()],
        ),
    ]);
    scenes
}

fn appointment() -> Vec<Scene> {
    let first = said(&format!(
        "Hello there, this is {}. You have an appointment this week. Press 1 to confirm, 2 to have it moved, 3 to talk to us, or 9 not to be called again.",
        *COMPANY
    ));
    let none = said("We will try again. Goodbye.");
    let mut scenes = everybody(&Opening {
        all: vec![first.clone(), first.clone(), none, us()],
        message: Some(format!(
            "Hello there, this is {}, to remind you of your appointment this week. Goodbye.",
            *COMPANY
        )),
    });
    let yes = said("Thank you, your appointment this week is confirmed. Goodbye.");
    let moved = said("Thank you, we will call you with another time. Goodbye.");
    scenes.extend(connected(&first, "3"));
    scenes.extend([
        human(
            "keypress",
            &["1"],
            vec![first.clone(), pressed("1"), yes, us()],
        ),
        human(
            "wrong key, then a right one",
            &["0", "2"],
            vec![
                first.clone(),
                pressed("0"),
                first.clone(),
                pressed("2"),
                moved,
                us(),
            ],
        ),
        human(
            "opt-out",
            &["9"],
            vec![first, pressed("9"), said(OPTED_OUT), us()],
        ),
    ]);
    scenes
}
