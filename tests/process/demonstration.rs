//! `dialfleet dev`, as a newcomer runs it.

use std::process::Output;

use dialfleet_tests::fleet::program;
use serde_json::Value;
use tokio::process::Command;

async fn dev(folder: &std::path::Path, args: &[&str]) -> (Output, Option<Value>) {
    let output = Command::new(program())
        .args([
            "dev",
            "--exit-when-done",
            "--report",
            "r.json",
            "--port",
            "0",
        ])
        .args(args)
        .current_dir(folder)
        .env_remove("MONGODB_URI")
        .env_remove("AMQP_URL")
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let report = std::fs::read(folder.join("r.json"))
        .ok()
        .map(|bytes| serde_json::from_slice(&bytes).unwrap());
    (output, report)
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn the_bundled_sample_is_dialed_to_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let (output, report) = dev(folder.path(), &["--speed", "600"]).await;
    assert!(output.status.success(), "{}", said(&output));
    let report = report.unwrap();
    assert_eq!(
        (&report["leads"], &report["done"]),
        (&Value::from(200), &Value::from(200))
    );
    assert_eq!(report["duplicates"], 0);
    for (_, most) in report["max_live"].as_object().unwrap() {
        assert!(most.as_u64().unwrap() <= 5);
    }
    assert!(
        report["refill_ms"]["count"].as_u64().unwrap() > 100,
        "{report}"
    );
    assert!(
        said(&output).contains("leads finished"),
        "progress is shown: {}",
        said(&output)
    );
}

#[tokio::test]
async fn nobody_is_called_whom_no_agent_could_talk_to() {
    let folder = tempfile::tempdir().unwrap();
    let rows = (1..=60).map(|n| format!("+155501{n:05}\n"));
    let file = ["phone\n".to_owned()].into_iter().chain(rows);
    std::fs::write(folder.path().join("leads.csv"), file.collect::<String>()).unwrap();
    let campaign = |capacity: u32| {
        format!(
            "name = \"agents\"\nconcurrency = 10\n[retry]\nmax_attempts = 1\n[flow]\n\
             steps = [{{ do = \"stream\", url = \"wss://agent.example.com/calls\", capacity = {capacity} }}]\n"
        )
    };
    let args = [
        "--leads",
        "leads.csv",
        "--campaign",
        "c.toml",
        "--speed",
        "600",
    ];
    std::fs::write(folder.path().join("c.toml"), campaign(0)).unwrap();
    let (output, _) = dev(folder.path(), &args).await;
    let refused = said(&output);
    assert!(!output.status.success(), "{refused}");
    assert!(refused.contains("/steps/0/capacity"), "{refused}");
    std::fs::write(folder.path().join("c.toml"), campaign(3)).unwrap();
    let (output, report) = dev(folder.path(), &args).await;
    assert!(output.status.success(), "{}", said(&output));
    let report = report.unwrap();
    assert_eq!(report["done"], 60, "{report}");
    let most: Vec<_> = report["max_live"].as_object().unwrap().values().collect();
    assert_eq!(most, [3], "{report}");
}

#[tokio::test]
async fn a_messy_file_is_dialed_and_every_bad_row_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let mut file = b"\xef\xbb\xbfPhone,name,note,extra\r\n".to_vec();
    file.extend(b"+15550100001,\"Smith, Jo\",\"he said \"\"hi\"\"\",x\r\n");
    file.extend(b"+15550100002,Ren\xe9,,\r\n");
    file.extend(b"not a number,a,b,c\r\n");
    file.extend(b"+15550100001,again,,\r\n");
    file.extend(b",nobody,,\r\n");
    file.extend(b"+15550100003,a,b,c,d,e\r\n");
    file.extend(b"+15550100200,busy,,\r\n");
    std::fs::write(folder.path().join("leads.csv"), file).unwrap();
    std::fs::write(
        folder.path().join("c.toml"),
        "name = \"messy\"\n[retry]\nmax_attempts = 1\n",
    )
    .unwrap();
    let (output, report) = dev(
        folder.path(),
        &[
            "--leads",
            "leads.csv",
            "--campaign",
            "c.toml",
            "--speed",
            "600",
        ],
    )
    .await;
    let said = said(&output);
    assert!(output.status.success(), "{said}");
    let report = report.unwrap();
    assert_eq!(
        (&report["leads"], &report["done"]),
        (&Value::from(2), &Value::from(2)),
        "{report}"
    );
    let lines: Vec<u64> = report["import"]["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["line"].as_u64().unwrap())
        .collect();
    assert_eq!(lines, [3, 4, 5, 6, 7], "{report}");
    for line in lines {
        assert!(said.contains(&format!("line {line}:")), "{said}");
    }
    assert_eq!(report["outcomes"]["busy"], 1, "{report}");
}

#[tokio::test]
async fn an_unusable_file_is_refused_with_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    for (bytes, sentence) in [
        (&b""[..], "the file is empty"),
        (b"number\n+15550100001\n", "no column \"phone\""),
        (b"PK\x03\x04\0\0\0\0", "not text"),
    ] {
        std::fs::write(folder.path().join("leads.csv"), bytes).unwrap();
        let (output, report) = dev(folder.path(), &["--leads", "leads.csv"]).await;
        assert!(!output.status.success() && report.is_none());
        assert!(
            said(&output).contains(sentence),
            "{sentence}: {}",
            said(&output)
        );
    }
}
