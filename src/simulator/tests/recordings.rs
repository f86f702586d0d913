//! Twilio's recordings: started, halted, told of and fetched.

use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, LOCATION};

use super::{Callback, SID, TOKEN, World};
use crate::{Faults, Script, Sound};

const ANSWERS: Script = Script::Human {
    ring_ms: 1_000,
    talk_ms: 30_000,
};

impl World {
    fn account(&self, path: &str) -> String {
        let base = self.sim.base_url();
        format!("{base}/2010-04-01/Accounts/{SID}/{path}")
    }

    async fn media(&self, url: &str) -> reqwest::Result<(StatusCode, String, Vec<u8>)> {
        let policy = reqwest::redirect::Policy::none();
        let http = reqwest::Client::builder().no_proxy().redirect(policy);
        let http = http.build().unwrap();
        let mut request = http.get(url);
        if url.contains("/2010-04-01/") {
            request = request.basic_auth(SID, Some(TOKEN));
        }
        let answer = request.send().await?;
        let status = answer.status();
        let header = answer
            .headers()
            .get(LOCATION)
            .or(answer.headers().get(CONTENT_TYPE));
        let header = header.map_or("", |v| v.to_str().unwrap()).to_owned();
        Ok((status, header, answer.bytes().await?.into()))
    }

    /// A recorded call to its end; the callback of its recording.
    async fn recorded(&mut self, to: &str, attempt: &str) -> Callback {
        self.sim.network().set_script(to, ANSWERS);
        let mut form = self.form(to, attempt);
        form.retain(|(key, _)| *key != "StatusCallbackEvent");
        form.push(("Record", "true".to_owned()));
        form.push(("RecordingChannels", "dual".to_owned()));
        let callback = format!("{}/recording", self.origin);
        form.push(("RecordingStatusCallback", callback));
        self.post(&self.calls_url(), &form).await.unwrap();
        let two = self.next_n(2).await;
        let (recording, end) = match two[0].path.as_str() {
            "/recording" => (&two[0], &two[1]),
            _ => (&two[1], &two[0]),
        };
        assert_eq!(end.status(), "completed");
        for field in ["RecordingSid", "RecordingUrl", "RecordingDuration"] {
            assert_eq!(end.get(field), recording.get(field));
        }
        recording.clone()
    }
}

#[tokio::test]
async fn a_recorded_call_has_a_file() {
    let mut world = World::new(Faults::default()).await;
    let told = world.recorded("+15550123001", "camp:a:1").await;
    for (field, expected) in [
        ("RecordingStatus", "completed"),
        ("RecordingChannels", "2"),
        ("RecordingTrack", "both"),
        ("RecordingSource", "OutboundAPI"),
        ("AccountSid", SID),
    ] {
        assert_eq!(told.get(field), expected, "{field}");
    }
    let seconds: u32 = told.get("RecordingDuration").parse().unwrap();
    assert!((25..=60).contains(&seconds), "{seconds}");
    assert!(told.get("RecordingSid").starts_with("RE"));
    let url = told.get("RecordingUrl");
    let (status, kind, mono) = world.media(&format!("{url}.wav")).await.unwrap();
    assert_eq!((status.as_u16(), kind.as_str()), (200, "audio/x-wav"));
    let dual = format!("{url}.wav?RequestedChannels=2");
    let (_, _, dual) = world.media(&dual).await.unwrap();
    assert_eq!((mono[22], dual[22]), (1, 2), "channels");
    assert!(mono.starts_with(b"RIFF") && dual.len() == 2 * mono.len() - 44);
    let (_, kind, mp3) = world.media(&format!("{url}.mp3")).await.unwrap();
    assert!(kind == "audio/mpeg" && mp3.starts_with(b"ID3"));
    let other = world.recorded("+15550123002", "camp:b:1").await;
    let (_, _, another) = world
        .media(&format!("{}.wav", other.get("RecordingUrl")))
        .await
        .unwrap();
    assert_ne!(mono, another, "every call sounds different");
    let unknown = world.http.get(format!("{url}.wav")).send().await.unwrap();
    assert_eq!(unknown.status(), StatusCode::UNAUTHORIZED);
    let gone = world
        .http
        .delete(format!("{url}.json"))
        .basic_auth(SID, Some(TOKEN));
    assert_eq!(gone.send().await.unwrap().status(), StatusCode::NO_CONTENT);
    let (status, ..) = world.media(&format!("{url}.wav")).await.unwrap();
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_file_can_be_late_broken_cut_short_or_elsewhere() {
    let mut world = World::new(Faults::default()).await;
    let told = world.recorded("+15550123003", "camp:a:1").await;
    let url = format!("{}.wav", told.get("RecordingUrl"));
    let (.., whole) = world.media(&url).await.unwrap();
    let set = |faults| world.sim.faults().set(faults);
    set(Faults {
        media_late_ms: 600_000,
        ..Faults::default()
    });
    assert_eq!(world.media(&url).await.unwrap().0, StatusCode::NOT_FOUND);
    set(Faults {
        media_500: 1.0,
        ..Faults::default()
    });
    assert_eq!(
        world.media(&url).await.unwrap().0,
        StatusCode::INTERNAL_SERVER_ERROR
    );
    set(Faults {
        media_truncated: 1.0,
        ..Faults::default()
    });
    assert!(world.media(&url).await.is_err());
    set(Faults {
        media_redirected: 1.0,
        ..Faults::default()
    });
    let (status, to, _) = world.media(&url).await.unwrap();
    assert_eq!(status, StatusCode::TEMPORARY_REDIRECT);
    let (.., same) = world.media(&to).await.unwrap();
    let mono = u64::try_from(whole.len()).unwrap();
    assert!(same.starts_with(b"RIFF") && u64::try_from(same.len()).unwrap() >= mono);
    let twice = world.http.get(&to).bearer_auth("x").send().await.unwrap();
    assert_eq!(
        twice.status(),
        StatusCode::BAD_REQUEST,
        "credentials are not for the store"
    );
    let forged = to.replace("signature=", "signature=0");
    assert_eq!(world.media(&forged).await.unwrap().0, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_recording_is_started_halted_and_stopped_by_request() {
    let mut world = World::new(Faults::default()).await;
    let to = "+15550123004";
    let script = Script::Human {
        ring_ms: 59_000,
        talk_ms: 3_600_000,
    };
    world.sim.network().set_script(to, script);
    let (_, call) = world.create(to, "camp:a:1").await.unwrap();
    let sid = call["sid"].as_str().unwrap();
    let path = world.account(&format!("Calls/{sid}/Recordings"));
    let early = world.post(&format!("{path}.json"), &[]).await.unwrap();
    assert_eq!((early.0, &early.1["code"]), (400, &21220.into()));
    while world.next().await.status() != "in-progress" {}
    let form = [
        ("RecordingStatusCallback", format!("{}/rec", world.origin)),
        (
            "RecordingStatusCallbackEvent",
            "in-progress completed".to_owned(),
        ),
        ("RecordingTrack", "inbound".to_owned()),
    ];
    let (status, made) = world.post(&format!("{path}.json"), &form).await.unwrap();
    assert_eq!((status, &made["status"]), (201, &"in-progress".into()));
    assert_eq!(world.next().await.get("RecordingStatus"), "in-progress");
    let id = made["sid"].as_str().unwrap();
    for (name, to, now) in [
        ("Twilio.CURRENT", "paused", "paused"),
        (id, "in-progress", "in-progress"),
        (id, "stopped", "completed"),
    ] {
        let form = [("Status", to.to_owned())];
        let (status, seen) = world
            .post(&format!("{path}/{name}.json"), &form)
            .await
            .unwrap();
        assert_eq!((status, &seen["status"]), (200, &now.into()));
    }
    let told = world.next().await;
    assert_eq!(
        (told.get("RecordingStatus"), told.get("RecordingSource")),
        ("completed", "StartCallRecordingAPI")
    );
    let (_, listed) = world
        .get(&format!(
            "/2010-04-01/Accounts/{SID}/Calls/{sid}/Recordings.json"
        ))
        .await;
    assert_eq!(listed["recordings"][0]["sid"], *id);
    let heard = world.sim.network().heard(sid);
    let id = id.to_owned();
    let sounds: Vec<_> = heard
        .into_iter()
        .map(|h| h.sound)
        .skip(1)
        .filter(|s| !matches!(s, Sound::Paused { .. }))
        .collect();
    assert_eq!(
        sounds,
        [
            Sound::RecordingStarted { id: id.clone() },
            Sound::RecordingPaused { id: id.clone() },
            Sound::RecordingResumed { id: id.clone() },
            Sound::RecordingStopped { id },
        ]
    );
}
