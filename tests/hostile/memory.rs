//! What is held stays within the limits, whatever is sent and however long it goes on.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Body;
use axum::http::Request;
use bytes::Bytes;
use dialfleet_engine::intake::{Format, MAX_FILE, MAX_ROW, open};
use futures_util::stream;

use crate::rig::Rig;

/// Bytes read and forgotten beyond a limit, so that the answer is read.
const LINGER: usize = 8 * 1024 * 1024;
const PIECE: usize = 64 * 1024;

/// A body without end, and how much of it was taken.
fn endless() -> (Body, Arc<AtomicUsize>) {
    let taken = Arc::new(AtomicUsize::new(0));
    let count = taken.clone();
    let body = stream::repeat_with(move || {
        count.fetch_add(PIECE, Ordering::SeqCst);
        Ok::<_, std::io::Error>(Bytes::from_static(&[b'a'; PIECE]))
    });
    (Body::from_stream(body), taken)
}

#[test]
fn a_body_without_end_is_given_up() {
    let rig = Rig::new();
    rig.runtime.block_on(async {
        let campaign = rig.campaign("endless").await;
        let (_, hook) = rig.attempt().await;
        let import = format!("/v1/campaigns/{}/imports", campaign.id);
        let json = "application/json";
        let table = [
            (import.as_str(), "text/csv", MAX_FILE),
            (import.as_str(), "application/x-ndjson", MAX_FILE),
            ("/v1/campaigns", json, 1024 * 1024),
            ("/v1/dnc", json, 1024 * 1024),
            (
                hook.as_str(),
                "application/x-www-form-urlencoded",
                64 * 1024,
            ),
        ];
        for (path, kind, limit) in table {
            let (body, taken) = endless();
            let request = Rig::request("POST", path).header("content-type", kind);
            let answer = rig.send(request.body(body).unwrap()).await;
            assert_eq!(
                (answer.status.as_u16(), answer.body["code"].as_str()),
                (413, Some("payload_too_large"))
            );
            let taken = taken.load(Ordering::SeqCst);
            assert!(taken <= limit + LINGER + 2 * PIECE, "{path}: {taken}");
            // Announced, it is not even begun.
            let (body, taken) = endless();
            let request = Rig::request("POST", path)
                .header("content-type", kind)
                .header("content-length", "99999999999");
            let answer = rig.send(request.body(body).unwrap()).await;
            assert_eq!(
                (answer.status.as_u16(), taken.load(Ordering::SeqCst)),
                (413, 0),
                "{path}"
            );
        }
        // What nobody asked for is not read at all.
        let strangers = [
            ("/v1/campaigns", 401),
            ("/nowhere", 404),
            ("/v1/nowhere", 401),
        ];
        for (path, status) in strangers {
            let (body, taken) = endless();
            let request = Request::builder().method("POST").uri(path);
            let answer = rig.send(request.body(body).unwrap()).await;
            assert_eq!(
                (answer.status.as_u16(), taken.load(Ordering::SeqCst)),
                (status, 0),
                "{path}"
            );
        }
    });
}

/// Names the file that a process of its own reads, where nothing else uses memory.
const CHILD: &str = "HOSTILE_FILE";
/// Bytes of it.
const SIZE: usize = 6 * 1024 * 1024;
/// What may be held besides the file: some rows, and what the allocator keeps.
const HELD_KIB: usize = 6 * MAX_ROW / 1024;

const FILES: [(&str, Format); 10] = [
    ("commas", Format::Csv),
    ("a row of commas", Format::Csv),
    ("quotes", Format::Csv),
    ("an open quote", Format::Csv),
    ("a long name", Format::Csv),
    ("short rows", Format::Csv),
    ("line ends", Format::Csv),
    ("brackets", Format::Ndjson),
    ("numbers", Format::Ndjson),
    ("names", Format::Ndjson),
];

fn file(name: &str) -> Vec<u8> {
    let (head, piece) = match name {
        "commas" => ("", ","),
        "a row of commas" => ("phone,x\n1", ","),
        "quotes" => ("phone,x\n", "\"\"\"\","),
        "an open quote" => ("phone,x\n1,\"", "+442079460119,a\n"),
        "a long name" => ("phone,", "x"),
        "short rows" => ("phone,a long name of a column\n", ",\u{7f}\n"),
        "line ends" => ("phone\n1", "\r"),
        "brackets" => ("", "["),
        "numbers" => ("{\"a\":[", "0,"),
        "names" => ("{", "\"\":{},"),
        other => panic!("{other}"),
    };
    let mut bytes = head.as_bytes().to_vec();
    while bytes.len() < SIZE {
        bytes.extend_from_slice(piece.as_bytes());
    }
    bytes
}

/// The most memory this process ever had, KiB.
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap()
}

#[test]
#[cfg(target_os = "linux")]
fn reading_a_file_takes_no_more_than_a_few_rows() {
    if let Ok(name) = std::env::var(CHILD) {
        let (_, format) = FILES.iter().find(|(known, _)| *known == name).unwrap();
        let bytes = file(&name);
        let before = peak();
        let rows = open(&bytes, *format).map(Iterator::count);
        let held = peak() - before;
        println!("{name}: {rows:?}, {held} KiB");
        assert!(
            held < HELD_KIB,
            "{name}: {held} KiB were held, at most {HELD_KIB} are good"
        );
        return;
    }
    for (name, _) in FILES {
        let output = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "memory::reading_a_file_takes_no_more_than_a_few_rows",
                "--nocapture",
            ])
            .env(CHILD, name)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && said.contains("1 passed"),
            "{name}: {said}{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}
