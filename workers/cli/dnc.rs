//! `dialfleet dnc …`

use std::process::ExitCode;

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::json;

use super::client::{Body, Done, call, segment};
use super::{Server, print, say};

/// Do-not-call commands.
#[derive(Debug, Subcommand)]
pub(crate) enum DncCommand {
    /// Put a number on the list; a call to it that is live is ended
    Add(PhoneArgs),
    /// Say whether a number is on the list
    Check(PhoneArgs),
    /// Take a number off the list
    Remove(PhoneArgs),
}

/// Which number.
#[derive(Debug, Args)]
pub(crate) struct PhoneArgs {
    /// The number, in E.164 (+442079460119)
    phone: String,
    #[command(flatten)]
    server: Server,
}

/// Runs a do-not-call command.
///
/// # Errors
/// The API cannot be reached or says no.
pub(crate) async fn run(command: DncCommand) -> Done {
    match command {
        DncCommand::Add(args) => {
            call(
                &args.server,
                Method::POST,
                "/dnc",
                Body::Json(json!({ "phones": [args.phone] })),
            )
            .await?;
            say("listed: it will not be called any more");
        }
        DncCommand::Check(args) => {
            let value = call(
                &args.server,
                Method::GET,
                &format!("/dnc/{}", segment(&args.phone)),
                Body::Empty,
            )
            .await?;
            print(if value["listed"] == true {
                "listed"
            } else {
                "not listed"
            });
        }
        DncCommand::Remove(args) => {
            call(
                &args.server,
                Method::DELETE,
                &format!("/dnc/{}", segment(&args.phone)),
                Body::Empty,
            )
            .await?;
            say("not listed any more");
        }
    }
    Ok(ExitCode::SUCCESS)
}
