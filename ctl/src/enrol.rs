//! `takt enrol`: tokens with which devices join the fleet.

use clap::{Args, Subcommand};
use takt_common::Name;
use takt_common::api::{TokenRequest, TokenResponse};

use crate::api::Api;
use crate::failure::Failure;
use crate::output::Output;
use crate::span;

/// `takt enrol …`
#[derive(Debug, Subcommand)]
pub enum EnrolCommand {
    /// Makes a token that devices enrol with; it is shown once
    #[command(after_help = "Example:\n  takt enrol token --domain line-7 --uses 3 --valid 1h\n  \
        takt enrol token --domain line-7 --approval")]
    Token(TokenArgs),
}

/// `takt enrol token`
#[derive(Debug, Args)]
pub struct TokenArgs {
    /// Devices that use the token belong to this domain
    #[arg(long)]
    domain: Name,
    /// How many devices may use it
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    uses: u32,
    /// How long it may be used: 90s, 10m, 1h, 7d
    #[arg(long, value_name = "SPAN", default_value = "1h", value_parser = span::parse_secs)]
    valid: u64,
    /// Devices that enrol with it get no orders until `takt device approve`
    #[arg(long)]
    approval: bool,
}

/// Does what a `takt enrol` command asks for. On a terminal or a pipe the first line is the token alone.
pub async fn run(command: EnrolCommand, api: &Api, output: Output) -> Result<(), Failure> {
    let EnrolCommand::Token(args) = command;
    let TokenArgs { domain, uses, valid: valid_secs, approval } = args;
    let request = TokenRequest { domain, uses, valid_secs, approval };
    let answer: TokenResponse = api.post("/api/v1/tokens", &request).await?;
    Ok(output.give(&answer, || {
        let devices =
            if request.uses == 1 { "one device".to_owned() } else { format!("{} devices", request.uses) };
        vec![
            answer.token.clone(),
            format!(
                "for {devices} of domain {}, until {}{}",
                request.domain,
                answer.not_after,
                if request.approval { "; each waits for `takt device approve`" } else { "" }
            ),
        ]
    })?)
}
