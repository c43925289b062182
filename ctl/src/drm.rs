//! `takt drm`: the Device Redundancy Matrix, who can stand in for whom.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{Args, Subcommand};
use takt_common::Name;
use takt_common::api::{DrmSpec, StandbySpec, Takeover};
use takt_common::id::IdError;

use crate::cli::{DomainArgs, Online};
use crate::document::{self, DocumentError};
use crate::failure::Failure;
use crate::output::Output;
use crate::table::Table;

/// `takt drm …`
#[derive(Debug, Subcommand)]
pub enum DrmCommand {
    /// Replaces the redundancy matrix of a domain
    #[command(
        after_help = "Example:\n  takt drm set --domain line-7 --row camera-1:camera-2 --row camera-2:camera-1"
    )]
    Set(SetArgs),
    /// Shows the redundancy matrix of a domain
    #[command(after_help = "Example:\n  takt drm show --domain line-7")]
    Show(DomainArgs),
}

/// `takt drm set`
#[derive(Debug, Args)]
pub struct SetArgs {
    /// Whose matrix
    #[arg(long)]
    domain: Name,
    /// Rows and sets as .json or .toml: {"rows": [{"device": …, "standbys": […], "takeover": "launch"}], "sets": [{"name": …,
    /// "members": […], "serve_min": 2}]}
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// DEVICE:STANDBY[,STANDBY…][:launch|:notify|:restore]: who may serve while DEVICE is away; the first that is able is asked. It
    /// launches what DEVICE runs; with notify, is told by a hook and says by its health checks that it serves; with restore, goes on
    /// with the memory of what DEVICE runs, where its own settings allow that
    #[arg(long = "row", value_name = "ROW", required_unless_present = "file")]
    rows: Vec<RowArg>,
}

/// A row from the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowArg(StandbySpec);

/// A row is not understood.
#[derive(Debug, thiserror::Error)]
pub enum RowError {
    /// Not a device and its standbys.
    #[error("DEVICE:STANDBY[,STANDBY...][:launch|:notify|:restore] is expected, such as camera-1:camera-2")]
    Form,
    /// A device's name is none.
    #[error(transparent)]
    Device(#[from] IdError),
}

impl FromStr for RowArg {
    type Err = RowError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (device, rest) = text.split_once(':').ok_or(RowError::Form)?;
        let (standbys, takeover) = match rest.split_once(':') {
            None | Some((_, "launch")) => (rest.split(':').next().unwrap_or(rest), Takeover::Launch),
            Some((standbys, "notify")) => (standbys, Takeover::Notify),
            Some((standbys, "restore")) => (standbys, Takeover::Restore),
            Some(_) => return Err(RowError::Form),
        };
        let standbys = standbys.split(',').map(str::parse).collect::<Result<Vec<Name>, _>>()?;
        Ok(Self(StandbySpec { device: device.parse()?, standbys, takeover }))
    }
}

/// A matrix file or the rows in it are not usable.
#[derive(Debug, thiserror::Error)]
pub enum DrmError {
    /// The file is not usable.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// A device that would stand in for itself.
    #[error("row {device}: a device cannot stand in for itself")]
    Itself {
        /// The device.
        device: Name,
    },
    /// Two rows for one device, or a standby twice in a row.
    #[error("row {device}: '{twice}' is there twice")]
    Twice {
        /// The device.
        device: Name,
        /// What is there twice.
        twice: Name,
    },
    /// A row that names nobody.
    #[error("row {device}: no standby is named")]
    NoStandby {
        /// The device.
        device: Name,
    },
}

/// Does what a `takt drm` command asks for.
pub async fn run(command: DrmCommand, online: &Online, output: Output) -> Result<(), Failure> {
    match command {
        DrmCommand::Set(args) => {
            let drm = drm_of(args.file.as_deref(), args.rows)?;
            online.api()?.put(&path(&args.domain), &drm).await?;
            Ok(output.give(&drm, || {
                vec![format!("domain {} has standbys for {} devices now", args.domain, drm.rows.len())]
            })?)
        }
        DrmCommand::Show(args) => {
            let drm: DrmSpec = online.api()?.get(&path(&args.domain)).await?;
            Ok(output.give(&drm, || lines(&drm))?)
        }
    }
}

fn path(domain: &Name) -> String {
    format!("/api/v1/domains/{domain}/drm")
}

fn lines(drm: &DrmSpec) -> Vec<String> {
    let mut table = Table::new(&["DEVICE", "STANDBYS", "TAKEOVER"]);
    for row in &drm.rows {
        let standbys: Vec<&str> = row.standbys.iter().map(Name::as_str).collect();
        table.row(vec![row.device.to_string(), standbys.join(","), row.takeover.to_string()]);
    }
    let mut lines = table.lines();
    lines.extend(drm.sets.iter().map(|set| {
        let members: Vec<&str> = set.members.iter().map(Name::as_str).collect();
        format!("set {}: {} of {} must serve", set.name, set.serve_min, members.join(", "))
    }));
    lines
}

/// The matrix that a file and arguments describe together.
fn drm_of(file: Option<&Path>, rows: Vec<RowArg>) -> Result<DrmSpec, DrmError> {
    let read = |file| document::read::<DrmSpec>("redundancy matrix", file);
    let mut drm = file.map(read).transpose()?.unwrap_or_default();
    drm.rows.extend(rows.into_iter().map(|row| row.0));
    check(&drm)?;
    Ok(drm)
}

fn check(drm: &DrmSpec) -> Result<(), DrmError> {
    let mut devices = BTreeSet::new();
    for row in &drm.rows {
        let device = row.device.clone();
        if !devices.insert(&row.device) {
            return Err(DrmError::Twice { twice: device.clone(), device });
        }
        if row.standbys.is_empty() {
            return Err(DrmError::NoStandby { device });
        }
        if row.standbys.contains(&device) {
            return Err(DrmError::Itself { device });
        }
        let mut standbys = BTreeSet::new();
        if let Some(twice) = row.standbys.iter().find(|standby| !standbys.insert(*standby)) {
            return Err(DrmError::Twice { device, twice: twice.clone() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drm(rows: &[&str]) -> Result<DrmSpec, DrmError> {
        drm_of(None, rows.iter().map(|text| text.parse().unwrap()).collect())
    }

    #[test]
    fn rows_keep_the_order_of_their_standbys() {
        let drm = drm(&["camera-1:camera-3,camera-2", "camera-2:camera-1"]).unwrap();
        let first: Vec<&str> = drm.rows[0].standbys.iter().map(Name::as_str).collect();
        assert_eq!(first, ["camera-3", "camera-2"]);
        assert_eq!(drm.rows.len(), 2);
    }

    #[test]
    fn rows_that_cannot_serve_are_refused() {
        for text in ["", "a", "a:", ":b", "a:b,", "a:B"] {
            assert!(text.parse::<RowArg>().is_err(), "{text}");
        }
        assert!(matches!(drm(&["a:a"]), Err(DrmError::Itself { .. })));
        assert!(matches!(drm(&["a:b,b"]), Err(DrmError::Twice { .. })));
        assert!(matches!(drm(&["a:b", "a:c"]), Err(DrmError::Twice { .. })));
    }

    #[test]
    fn a_file_is_read_in_both_forms() {
        let folder = tempfile::tempdir().unwrap();
        let read = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            drm_of(Some(&path), Vec::new())
        };
        let json =
            read("m.json", r#"{"rows":[{"device":"a","standbys":["b"],"takeover":"launch"}]}"#).unwrap();
        let toml = read("m.toml", "[[rows]]\ndevice='a'\nstandbys=['b']\ntakeover='launch'\n").unwrap();
        assert_eq!(json, toml);
        assert!(matches!(
            read("n.json", r#"{"rows":[{"device":"a","standbys":[],"takeover":"launch"}]}"#),
            Err(DrmError::NoStandby { .. })
        ));
    }
}
