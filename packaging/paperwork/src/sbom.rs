//! The bill of materials of a package: every library in its programs, in the words of CycloneDX 1.5.

use std::collections::BTreeMap;
use std::path::Path;
use std::{fs, io};

use cyclonedx_bom::models::component::Classification;
use cyclonedx_bom::models::dependency::{Dependencies, Dependency};
use cyclonedx_bom::models::hash::{Hash, HashAlgorithm, HashValue, Hashes};
use cyclonedx_bom::models::license::{LicenseChoice, Licenses};
use cyclonedx_bom::prelude::{Bom, Component, Components, Metadata, Purl, SpdxExpression, Validate as _};
use serde::Deserialize;

use crate::libraries::Library;

/// The bill of materials cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum SbomError {
    /// The lock file is out of reach.
    #[error("read '{path}'")]
    Lock {
        /// The file.
        path: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The lock file is not one of cargo's.
    #[error("understand '{path}'")]
    Understand {
        /// The file.
        path: String,
        /// Why not.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A library has a licence that is no SPDX expression.
    #[error("library {library}: its licence '{licence}' is no SPDX expression")]
    Licence {
        /// Which.
        library: String,
        /// What it says.
        licence: String,
    },
    /// A library has a name or version that no package URL can hold.
    #[error("library {library}: no package URL can be made of it: {why}")]
    Purl {
        /// Which.
        library: String,
        /// Why not.
        why: String,
    },
    /// What has been made is not CycloneDX.
    #[error("the bill of materials of {package} is not valid CycloneDX 1.5: {why}")]
    Invalid {
        /// Of which package.
        package: String,
        /// What is wrong with it.
        why: String,
    },
}

/// The digests of the libraries' archives, as cargo's lock file has them, by name and version.
#[derive(Debug, Default)]
pub struct Checksums(BTreeMap<(String, String), String>);

impl Checksums {
    /// Reads the lock file at `path`.
    pub fn read(path: &Path) -> Result<Self, SbomError> {
        let shown = path.display().to_string();
        let text =
            fs::read_to_string(path).map_err(|source| SbomError::Lock { path: shown.clone(), source })?;
        Self::parse(&text).map_err(|source| SbomError::Understand { path: shown, source: Box::new(source) })
    }

    fn parse(text: &str) -> Result<Self, toml::de::Error> {
        let lock: Lock = toml::from_str(text)?;
        let checksum = |one: Locked| one.checksum.map(|checksum| ((one.name, one.version), checksum));
        Ok(Self(lock.package.into_iter().filter_map(checksum).collect()))
    }
}

#[derive(Deserialize)]
struct Lock {
    #[serde(default)]
    package: Vec<Locked>,
}

#[derive(Deserialize)]
struct Locked {
    name: String,
    version: String,
    checksum: Option<String>,
}

/// The bill of materials of `package` as JSON. The same libraries give the same bytes: there is no date and no number in it.
pub fn json(
    package: &str,
    version: &str,
    libraries: &[Library],
    checksums: &Checksums,
) -> Result<Vec<u8>, SbomError> {
    let invalid = |why: String| SbomError::Invalid { package: package.to_owned(), why };
    let components = libraries.iter().map(|library| component(library, checksums));
    let components = components.collect::<Result<Vec<_>, _>>()?;
    let whole = format!("{package}@{version}");
    let dependencies = components.iter().filter_map(|one| one.bom_ref.clone()).collect();
    let bom = Bom {
        serial_number: None,
        metadata: Some(Metadata {
            component: Some(Component::new(
                Classification::Application,
                package,
                version,
                Some(whole.clone()),
            )),
            ..Metadata::default()
        }),
        components: Some(Components(components)),
        dependencies: Some(Dependencies(vec![Dependency { dependency_ref: whole, dependencies }])),
        ..Bom::default()
    };
    let judged = bom.validate();
    if !judged.passed() {
        return Err(invalid(format!("{judged:?}")));
    }
    let mut bytes = Vec::new();
    bom.output_as_json_v1_5(&mut bytes).map_err(|error| invalid(error.to_string()))?;
    bytes.push(b'\n');
    Ok(bytes)
}

fn component(library: &Library, checksums: &Checksums) -> Result<Component, SbomError> {
    let Library { name, version, license, .. } = library;
    let shown = format!("{name} {version}");
    let purl = Purl::new("cargo", name, version)
        .map_err(|error| SbomError::Purl { library: shown.clone(), why: error.to_string() })?;
    let mut component = Component::new(Classification::Library, name, version, Some(purl.to_string()));
    component.purl = Some(purl);
    if let Some(licence) = license {
        // Some still write `MIT/Apache-2.0`, which cargo takes.
        let expression = SpdxExpression::parse_lax(licence.clone())
            .map_err(|_| SbomError::Licence { library: shown, licence: licence.clone() })?;
        component.licenses = Some(Licenses(vec![LicenseChoice::Expression(expression)]));
    }
    component.hashes = checksums.0.get(&(name.clone(), version.clone())).map(|checksum| {
        Hashes(vec![Hash { alg: HashAlgorithm::SHA_256, content: HashValue(checksum.clone()) }])
    });
    Ok(component)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn library(name: &str, licence: Option<&str>) -> Library {
        Library {
            name: name.to_owned(),
            version: "1.2.3".to_owned(),
            license: licence.map(str::to_owned),
            repository: None,
            manifest_path: "/nowhere/Cargo.toml".into(),
            source: Some("a registry".to_owned()),
        }
    }

    #[test]
    fn every_library_is_named_with_version_licence_and_digest_and_the_same_libraries_give_the_same_bytes() {
        let digest = "9".repeat(64);
        let lock = format!("[[package]]\nname = \"ring\"\nversion = \"1.2.3\"\nchecksum = \"{digest}\"\n");
        let checksums = Checksums::parse(&lock).unwrap();
        let libraries = [library("ring", Some("MIT/Apache-2.0")), library("bare", None)];
        let bytes = json("takt-agent", "0.1.0", &libraries, &checksums).unwrap();
        assert_eq!(bytes, json("takt-agent", "0.1.0", &libraries, &checksums).unwrap());

        let read: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(read["specVersion"], "1.5");
        assert_eq!(read["metadata"]["component"]["name"], "takt-agent");
        let ring = &read["components"][0];
        assert_eq!(ring["purl"], "pkg:cargo/ring@1.2.3");
        assert_eq!(ring["licenses"][0]["expression"], "MIT OR Apache-2.0");
        assert_eq!(ring["hashes"][0]["content"], digest.as_str());
        assert_eq!(read["components"][1]["name"], "bare");
        assert_eq!(read["dependencies"][0]["dependsOn"][1], "pkg:cargo/bare@1.2.3");
        assert!(Bom::parse_from_json_v1_5(bytes.as_slice()).unwrap().validate().passed());
    }

    #[test]
    fn a_licence_that_nobody_understands_and_a_lock_file_of_something_else_are_errors() {
        let strange = [library("ring", Some("do what you like"))];
        let error = json("takt-agent", "0.1.0", &strange, &Checksums::default()).unwrap_err().to_string();
        assert!(error.contains("ring 1.2.3") && error.contains("do what you like"), "{error}");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("Cargo.lock");
        assert!(Checksums::read(&path).unwrap_err().to_string().contains("Cargo.lock"));
        fs::write(&path, "package = 7").unwrap();
        assert!(Checksums::read(&path).unwrap_err().to_string().contains("understand"));
    }
}
