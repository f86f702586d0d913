//! Just enough of MongoDB's wire protocol to start a replica set: two commands, written by hand.
//!
//! There is no mongo shell on a test machine, and a driver would cost this tool minutes of build time. An answer is not
//! parsed: a BSON element is its type, name, a zero and its value, so to know whether `ok` is 1.0 it is enough to
//! look for those exact bytes.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Result, bail, ensure};

const OP_MSG: i32 = 2013;
/// Reply header (16), flag bits (4), section kind (1): the answer's document starts here.
const DOCUMENT_AT: usize = 21;
/// Far above any answer to these commands, far below a wild length from something that is not mongod.
const MAX_ANSWER: usize = 1 << 20;

/// Makes a fresh mongod a replica set of one. Doing it twice is not an error.
pub(crate) fn initiate(server: SocketAddr, set: &str) -> Result<()> {
    let member = Document::new()
        .int32("_id", 0)
        .string("host", &server.to_string());
    let members = Document::new().array_of_one("members", member);
    let config = Document::new().string("_id", set).append(members);
    let answer = command(server, Document::new().document("replSetInitiate", config))?;
    let ok = contains(&answer, &Document::new().double("ok", 1.0).elements);
    let already = contains(
        &answer,
        &Document::new()
            .string("codeName", "AlreadyInitialized")
            .elements,
    );
    ensure!(
        ok || already,
        "replSetInitiate was refused: {}",
        readable(&answer)
    );
    Ok(())
}

/// Whether the server accepts writes.
pub(crate) fn is_primary(server: SocketAddr) -> Result<bool> {
    let answer = command(server, Document::new().int32("hello", 1))?;
    Ok(contains(
        &answer,
        &Document::new().boolean("isWritablePrimary", true).elements,
    ))
}

/// Whether the server answers at all.
pub(crate) fn is_up(server: SocketAddr) -> Result<bool> {
    command(server, Document::new().int32("ping", 1)).map(|_| true)
}

fn command(server: SocketAddr, command: Document) -> Result<Vec<u8>> {
    let body = command.string("$db", "admin").encode();
    let length = i32::try_from(DOCUMENT_AT + body.len())?;
    let mut message = Vec::with_capacity(DOCUMENT_AT + body.len());
    for field in [length, 1, 0, OP_MSG, 0] {
        message.extend(field.to_le_bytes());
    }
    message.push(0);
    message.extend(body);

    let mut stream = TcpStream::connect_timeout(&server, Duration::from_secs(1))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(&message)?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = usize::try_from(i32::from_le_bytes(length))?;
    if !(DOCUMENT_AT..MAX_ANSWER).contains(&length) {
        bail!("{server} does not speak MongoDB's protocol");
    }
    let mut answer = vec![0; length - 4];
    stream.read_exact(&mut answer)?;
    Ok(answer.split_off(DOCUMENT_AT - 4))
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack
        .windows(needle.len())
        .any(|window| window == needle)
}

/// The text in an answer, for an error message.
fn readable(answer: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(answer)
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A BSON document in the making.
#[derive(Debug, Default)]
struct Document {
    elements: Vec<u8>,
}

impl Document {
    fn new() -> Self {
        Self::default()
    }

    fn encode(&self) -> Vec<u8> {
        let length =
            i32::try_from(self.elements.len() + 5).expect("our commands are a few hundred bytes");
        [&length.to_le_bytes()[..], &self.elements, &[0]].concat()
    }

    fn element(mut self, kind: u8, name: &str, value: &[u8]) -> Self {
        self.elements.push(kind);
        self.elements.extend(name.as_bytes());
        self.elements.push(0);
        self.elements.extend(value);
        self
    }

    fn append(mut self, other: Self) -> Self {
        self.elements.extend(other.elements);
        self
    }

    fn double(self, name: &str, value: f64) -> Self {
        self.element(0x01, name, &value.to_le_bytes())
    }

    fn string(self, name: &str, value: &str) -> Self {
        let length = i32::try_from(value.len() + 1).expect("our strings are short");
        self.element(
            0x02,
            name,
            &[&length.to_le_bytes()[..], value.as_bytes(), &[0]].concat(),
        )
    }

    fn document(self, name: &str, value: Self) -> Self {
        self.element(0x03, name, &value.encode())
    }

    fn array_of_one(self, name: &str, value: Self) -> Self {
        self.element(0x04, name, &Self::new().document("0", value).encode())
    }

    fn boolean(self, name: &str, value: bool) -> Self {
        self.element(0x08, name, &[u8::from(value)])
    }

    fn int32(self, name: &str, value: i32) -> Self {
        self.element(0x10, name, &value.to_le_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodes_the_example_of_the_bson_specification() {
        let bytes = Document::new().string("hello", "world").encode();
        assert_eq!(
            bytes,
            b"\x16\x00\x00\x00\x02hello\x00\x06\x00\x00\x00world\x00\x00"
        );
    }

    #[test]
    fn tells_true_from_false_in_an_answer() {
        let yes = Document::new()
            .int32("x", 1)
            .boolean("isWritablePrimary", true)
            .encode();
        let no = Document::new()
            .boolean("isWritablePrimary", false)
            .int32("x", 1)
            .encode();
        let sought = Document::new().boolean("isWritablePrimary", true).elements;
        assert!(contains(&yes, &sought));
        assert!(!contains(&no, &sought));
    }
}
