//! Reading a flow. serde loses the way into a step; here an error says where it is.

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::check::Fault;
use super::{Flow, Step, Voicemail};

/// The fields that hold steps.
const BLOCKS: [&str; 4] = ["prompt", "no_input", "failed", "else"];
/// The fields that hold steps by key.
const MAPS: [&str; 2] = ["options", "cases"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Plain {
    steps: Vec<Step>,
    #[serde(default)]
    language: Option<String>,
    #[serde(default)]
    voice: Option<String>,
    #[serde(default)]
    voicemail: Option<Voicemail>,
    #[serde(default)]
    defaults: std::collections::BTreeMap<String, String>,
}

impl<'de> Deserialize<'de> for Flow {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Self::read(&value).map_err(|fault| D::Error::custom(format!("at {fault}")))
    }
}

impl Flow {
    /// Reads a flow.
    ///
    /// # Errors
    /// Where it has not its shape, and why.
    pub fn read(value: &Value) -> Result<Self, Fault> {
        match parse::<Plain>(value.clone()) {
            Ok(plain) => Ok(Self {
                steps: plain.steps,
                language: plain.language,
                voice: plain.voice,
                voicemail: plain.voicemail,
                defaults: plain.defaults,
            }),
            Err(error) => Err(locate(value).unwrap_or_else(|| fault("", &error))),
        }
    }
}

fn parse<T: DeserializeOwned>(value: Value) -> Result<T, String> {
    serde_json::from_value(value).map_err(|error| error.to_string())
}

fn fault(pointer: &str, why: &str) -> Fault {
    let named = why.strip_prefix("unknown field `");
    let pointer = match named.and_then(|rest| rest.split('`').next()) {
        Some(name) => format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1")),
        None => pointer.to_owned(),
    };
    Fault::new(
        pointer,
        why,
        "see schemas/flow.v1.json, or `dialfleet flows show message` for an example",
    )
}

fn locate(flow: &Value) -> Option<Fault> {
    let Value::Object(fields) = flow else {
        return Some(fault("", "a flow is an object with \"steps\""));
    };
    in_steps(fields.get("steps"), "/steps")
        .or_else(|| {
            let voicemail = fields.get("voicemail")?.as_object()?;
            in_steps(voicemail.get("steps"), "/voicemail/steps").or_else(|| {
                let error = parse::<Voicemail>(without_blocks(voicemail)).err()?;
                Some(fault("/voicemail", &error))
            })
        })
        .or_else(|| {
            let mut rest = without_blocks(fields);
            rest.as_object_mut()?.remove("voicemail");
            let error = parse::<Plain>(rest).err()?;
            Some(fault("", &error))
        })
}

fn in_steps(steps: Option<&Value>, pointer: &str) -> Option<Fault> {
    let Value::Array(steps) = steps? else {
        return Some(fault(pointer, "this is a list of steps"));
    };
    let mut numbered = steps.iter().enumerate();
    numbered.find_map(|(i, step)| in_step(step, &format!("{pointer}/{i}")))
}

fn in_step(step: &Value, pointer: &str) -> Option<Fault> {
    let Value::Object(fields) = step else {
        return Some(fault(pointer, "a step is an object with \"do\""));
    };
    if let Err(error) = parse::<Step>(without_blocks(fields)) {
        return Some(fault(pointer, &error));
    }
    for name in BLOCKS {
        let found = in_steps(fields.get(name), &format!("{pointer}/{name}"));
        if found.is_some() {
            return found;
        }
    }
    for name in MAPS {
        let Some(Value::Object(blocks)) = fields.get(name) else {
            continue;
        };
        for (key, block) in blocks {
            let key = key.replace('~', "~0").replace('/', "~1");
            let found = in_steps(Some(block), &format!("{pointer}/{name}/{key}"));
            if found.is_some() {
                return found;
            }
        }
    }
    None
}

/// The same with every block empty.
fn without_blocks(fields: &Map<String, Value>) -> Value {
    let mut fields = fields.clone();
    for (name, value) in &mut fields {
        let (block, map) = (
            BLOCKS.contains(&name.as_str()),
            MAPS.contains(&name.as_str()),
        );
        if let Value::Array(steps) = value {
            if block || name == "steps" {
                steps.clear();
            }
        } else if let (Value::Object(blocks), true) = (value, map) {
            blocks.clear();
        }
    }
    Value::Object(fields)
}
