//! `takt operator`: people beside the first operator, who can approve what others have asked for.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use takt_common::Name;
use takt_common::api::{OperatorRequest, OperatorResponse};

use crate::api::Api;
use crate::failure::Failure;
use crate::file::{self, Readers};
use crate::output::Output;
use crate::table::Table;

const OPERATORS: &str = "/api/v1/operators";

/// `takt operator ...`
#[derive(Debug, Subcommand)]
pub enum OperatorCommand {
    /// Adds an operator, and writes a profile for them, which holds their token
    #[command(after_help = "Example:\n  takt operator add second --out second.toml")]
    Add(AddArgs),
    /// Lists the operators beside the first
    #[command(after_help = "Example:\n  takt operator list")]
    List,
    /// Removes an operator: the token is good for nothing any more
    #[command(after_help = "Example:\n  takt operator remove second")]
    Remove(RemoveArgs),
}

/// `takt operator add`
#[derive(Debug, Args)]
pub struct AddArgs {
    /// A new name
    #[arg(value_name = "NAME")]
    name: Name,
    /// Where the profile is written, for the operator alone to read; it must not be there yet
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// `takt operator remove`
#[derive(Debug, Args)]
pub struct RemoveArgs {
    /// Whom
    #[arg(value_name = "NAME")]
    name: Name,
}

/// Does what a `takt operator` command asks for.
pub async fn run(command: OperatorCommand, api: &Api, output: Output) -> Result<(), Failure> {
    match command {
        OperatorCommand::Add(args) => add(args, api, output).await,
        OperatorCommand::List => {
            let names: Vec<Name> = api.get(OPERATORS).await?;
            Ok(output.give(&names, || {
                let mut table = Table::new(&["OPERATOR"]);
                for name in &names {
                    table.row(vec![name.to_string()]);
                }
                table.lines()
            })?)
        }
        OperatorCommand::Remove(RemoveArgs { name }) => {
            api.delete(&format!("{OPERATORS}/{name}")).await?;
            Ok(output.give(&name, || vec![format!("{name} is no operator any more")])?)
        }
    }
}

async fn add(args: AddArgs, api: &Api, output: Output) -> Result<(), Failure> {
    file::check_free(&args.out)?;
    let request = OperatorRequest { name: args.name };
    let added: OperatorResponse = api.post(OPERATORS, &request).await?;
    let ca = std::path::absolute(api.ca()).unwrap_or_else(|_| api.ca().to_owned());
    let profile = toml::Table::from_iter([
        ("url".to_owned(), api.url().to_owned().into()),
        ("ca".to_owned(), ca.display().to_string().into()),
        ("token".to_owned(), added.token.clone().into()),
    ]);
    if let Err(error) = file::create(&args.out, profile.to_string().as_bytes(), Readers::Owner) {
        // A token that nobody has is not to stay good.
        api.delete(&format!("{OPERATORS}/{}", added.name)).await?;
        return Err(error.into());
    }
    Ok(output.give(&added.name, || {
        vec![
            format!("{} is an operator; the profile is {}", added.name, args.out.display()),
            "the token stands only there".to_owned(),
        ]
    })?)
}
