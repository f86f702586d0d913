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

    fn left(&self) -> Vec<DoNotCall> {
        let text = match fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
            Err(error) => {
                tracing::error!(%error, path = %self.path.display(), "kept opt-outs cannot be read");
                return Vec::new();
            }
        };
        // The last line may be cut off: it was not confirmed to anybody.
        text.lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
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
        assert_eq!(spool.left(), []);
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
        assert_eq!(FileSpool::new(folder.path()).left(), both);
        spool.clear();
        spool.clear();
        assert_eq!(spool.left(), []);
    }
}
