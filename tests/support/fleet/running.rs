//! One process of a fleet.

use std::process::ExitStatus;
use std::time::Duration;

use anyhow::Context;
use tokio::process::{Child, Command};

/// A process of the program. Dropping it kills it.
pub struct Running {
    pub(super) child: Child,
    pub(super) port: u16,
    pub(super) client: reqwest::Client,
}

impl Running {
    /// Where its HTTP side is.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Whether it says that it is ready; else what it says.
    ///
    /// # Errors
    /// It is not: its status and problem, or why it could not be asked.
    pub async fn ready(&self) -> Result<(), String> {
        let url = format!("{}/readyz", self.url());
        match self.client.get(&url).send().await {
            Ok(answer) if answer.status().is_success() => Ok(()),
            Ok(answer) => Err(format!(
                "{}: {}",
                answer.status(),
                answer.text().await.unwrap_or_default()
            )),
            Err(error) => Err(format!("{error:?}")),
        }
    }

    /// Sends a signal, such as `TERM`.
    ///
    /// # Panics
    /// The process has ended.
    pub async fn signal(&self, name: &str) {
        let pid = self.child.id().expect("the process has not ended");
        let sent = Command::new("kill")
            .args([format!("-{name}"), pid.to_string()])
            .status()
            .await;
        assert!(sent.is_ok_and(|status| status.success()), "kill -{name}");
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// It does not end within `bound`.
    pub async fn ended(&mut self, bound: Duration) -> ExitStatus {
        tokio::time::timeout(bound, self.child.wait())
            .await
            .unwrap_or_else(|_| panic!("the process has not ended within {bound:?}"))
            .expect("its status can be read")
    }

    /// Kills it with SIGKILL, as a power cut would.
    ///
    /// # Errors
    /// It had ended before.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill().await.context("it was gone already")
    }
}
