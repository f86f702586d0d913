//! The keeper: a small shell that ends everything a run started, whatever ends the run.
//!
//! It reads process groups (with a `-` before, those that have ended) from a pipe that only this process can write to.
//! When the pipe closes (normal end, panic, Ctrl-C, `kill -9`: the kernel closes it in all four) it kills the groups that
//! are left and removes the run's folder. So there are no signal handlers here, and no guard that a signal could skip.

use std::fs::DirBuilder;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Mutex;

use anyhow::{Context, Result};

/// Removal is tried for 5 s: a killed database may still be writing its last file.
const SCRIPT: &str = r#"
trap '' HUP INT TERM
groups=
while read -r line; do
  case $line in
    -*) left=; for group in $groups; do [ "-$group" = "$line" ] || left="$left $group"; done; groups=$left ;;
    *) groups="$groups $line" ;;
  esac
done
for group in $groups; do kill -s KILL -- "-$group"; done
tries=50
until rm -rf -- "$1" || [ $tries -eq 0 ]; do tries=$((tries - 1)); sleep 0.1; done
"#;

/// Owns a run's folder and everything started in it; dropping it ends and removes them.
#[derive(Debug)]
pub struct Keeper {
    shell: Child,
    pipe: Mutex<Option<ChildStdin>>,
    folder: PathBuf,
}

impl Keeper {
    /// Makes the run's folder (private to this user) and starts the keeper of it.
    pub fn start() -> Result<Self> {
        let folder = new_folder()?;
        let mut shell = Command::new("sh")
            .args(["-c", SCRIPT, "dialfleet-keeper"])
            .arg(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Its own group: Ctrl-C in the terminal must not reach it before its work is done.
            .process_group(0)
            .spawn()
            .context("cannot start sh")?;
        let pipe = Mutex::new(shell.stdin.take());
        Ok(Self {
            shell,
            pipe,
            folder,
        })
    }

    /// The folder for data and logs; gone after the run.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Takes charge of a process that leads its own group.
    pub fn adopt(&self, leader: &Child) -> Result<()> {
        self.tell(&leader.id().to_string())
    }

    /// Forgets a group that has ended: its number may be given to a stranger.
    pub fn release(&self, leader: &Child) -> Result<()> {
        self.tell(&format!("-{}", leader.id()))
    }

    fn tell(&self, line: &str) -> Result<()> {
        let mut pipe = self
            .pipe
            .lock()
            .expect("nothing panics while it holds this lock");
        let pipe = pipe.as_mut().expect("the pipe is taken by drop only");
        writeln!(pipe, "{line}").context("the keeper is gone")
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        if let Ok(mut pipe) = self.pipe.lock() {
            pipe.take();
        }
        // A failure to wait changes nothing: the keeper does its work without us.
        let _ = self.shell.wait();
    }
}

fn new_folder() -> Result<PathBuf> {
    let parent = std::env::temp_dir();
    for n in 0..1000 {
        let folder = parent.join(format!("dialfleet-{}-{n}", std::process::id()));
        match DirBuilder::new().mode(0o700).create(&folder) {
            Ok(()) => return Ok(folder),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("cannot make the folder {}", folder.display()));
            }
        }
    }
    anyhow::bail!(
        "{} is full of old dialfleet-* folders: remove them",
        parent.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_what_it_adopted_and_removes_the_folder() {
        let keeper = Keeper::start().unwrap();
        let folder = keeper.folder().to_owned();
        std::fs::write(folder.join("data"), "x").unwrap();
        // A leader that ignores polite signals, and a grandchild in its group that does too.
        let mut leader = Command::new("sh")
            .args(["-c", "trap '' HUP INT TERM; sleep 600 & wait"])
            .process_group(0)
            .spawn()
            .unwrap();
        keeper.adopt(&leader).unwrap();

        drop(keeper);

        assert!(!leader.wait().unwrap().success());
        assert!(!folder.exists());
    }
}
