//! Opt-outs in a file of the data folder: a line of JSON each, synced before it counts.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use dialfleet_engine::port::spool::Spool;
use dialfleet_engine::port::store::DoNotCall;

/// The file's name.
const FILE: &str = "opt-outs.jsonl";

/// A spool in a folder.
pub struct FileSpool {
    path: PathBuf,
}

impl FileSpool {
    /// In `folder`, which exists when something must be kept.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Self {
            path: folder.join(FILE),
        }
    }

    fn unreadable(&self, why: &str) -> io::Error {
        io::Error::other(format!(
            "opt-outs that wait to be written cannot be read from {}: {why}; repair the file, nobody is dialed without it",
            self.path.display()
        ))
    }
}

impl Spool for FileSpool {
    fn add(&self, entry: &DoNotCall) -> io::Result<()> {
        // Its own line, also after one that was cut off.
        let line = format!(
            "\n{}\n",
            serde_json::to_string(entry).map_err(io::Error::other)?
        );
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.path)?;
        file.write_all(line.as_bytes())?;
        file.sync_all()
    }

    fn left(&self) -> io::Result<Vec<DoNotCall>> {
        let text = match fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(self.unreadable(&error.to_string())),
        };
        let mut entries = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            match serde_json::from_str(line) {
                Ok(entry) => entries.push(entry),
                // Empty, or cut off when a process died: that was not confirmed to anybody.
                Err(error) if error.is_eof() => {}
                // The error may show what the line says: a number.
                Err(_) => return Err(self.unreadable(&format!("line {number} is no opt-out"))),
            }
        }
        Ok(entries)
    }

    fn clear(&self) {
        if let Err(error) = fs::remove_file(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "written opt-outs stay in the spool, and are written again");
        }
    }
}

#[cfg(test)]
mod tests {
    use dialfleet_domain::id::TenantId;
    use dialfleet_domain::phone::E164;
    use dialfleet_domain::time::Timestamp;

    use super::*;

    #[test]
    fn what_was_added_is_left_until_it_is_cleared() {
        let folder = tempfile::tempdir().unwrap();
        let spool = FileSpool::new(folder.path());
        assert_eq!(spool.left().unwrap(), []);
        let entry = |number: &str| DoNotCall {
            tenant: TenantId::parse("t").unwrap(),
            phone: E164::parse(number, None).unwrap(),
            source: "key".to_owned(),
            at: Timestamp::from_millis(1),
        };
        let both = [entry("+442079460119"), entry("+442079460120")];
        for one in &both {
            spool.add(one).unwrap();
        }
        let path = folder.path().join(FILE);
        let mut file = OpenOptions::new().append(true).open(path).unwrap();
        file.write_all(b"{\"tenant\":").unwrap();
        assert_eq!(FileSpool::new(folder.path()).left().unwrap(), both);
        spool.clear();
        spool.clear();
        assert_eq!(spool.left().unwrap(), []);
    }

    #[test]
    fn what_cannot_be_read_is_not_taken_for_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        let spool = FileSpool::new(folder.path());
        for bytes in [&b"{\"tenant\": 5}\n"[..], b"+442079460119\n", b"\xff\xfe"] {
            fs::write(&path, bytes).unwrap();
            let why = spool.left().unwrap_err().to_string();
            assert!(why.contains(FILE) && !why.contains("79460119"), "{why}");
        }
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        spool.left().unwrap_err();
    }
}
