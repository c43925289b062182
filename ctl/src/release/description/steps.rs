//! From the text of a step to the step, by kind.

use std::ops::Range;

use takt_common::release::{
    Container, ContainerSet, FileSet, FileSpec, LivePatch, OsImage, Package, PackageSet, Step, Strategy,
};
use toml::Spanned;

use super::error::{DescriptionError, FieldError};
use super::read::Growing;
use super::text::{ContainerText, FileText, KindText, StepText};
use crate::release::bundle::Bundle;
use crate::release::image::{self, Image};
use crate::release::module::Module;
use crate::release::package::PackageFile;
use crate::release::port;

impl KindText {
    const fn word(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Package => "package",
            Self::Container => "container",
            Self::OsImage => "os-image",
            Self::LivePatch => "live-patch",
        }
    }
}

impl StepText {
    /// Every field that is there, with the kind that it belongs to.
    fn fields(&self) -> Vec<(&'static str, KindText, Range<usize>)> {
        fn at<T>(
            name: &'static str,
            kind: KindText,
            field: Option<&Spanned<T>>,
        ) -> Option<(&'static str, KindText, Range<usize>)> {
            field.map(|field| (name, kind, field.span()))
        }
        use KindText::{Container, File, LivePatch, OsImage, Package};
        [
            at("files", File, self.files.as_ref()),
            at("packages", Package, self.packages.as_ref()),
            at("conffiles", Package, self.conffiles.as_ref()),
            at("containers", Container, self.containers.as_ref()),
            at("strategies", Container, self.strategies.as_ref()),
            at("drain_secs", Container, self.drain_secs.as_ref()),
            at("bundle", OsImage, self.bundle.as_ref()),
            at("compatible", OsImage, self.compatible.as_ref()),
            at("version", OsImage, self.version.as_ref()),
            at("boot_secs", OsImage, self.boot_secs.as_ref()),
            at("module", LivePatch, self.module.as_ref()),
            at("stands_for", LivePatch, self.stands_for.as_ref()),
            at("transition_secs", LivePatch, self.transition_secs.as_ref()),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// A step, with its files taken in.
pub(super) fn make(text: Spanned<StepText>, growing: &mut Growing<'_>) -> Result<Step, DescriptionError> {
    let text = text.into_inner();
    let kind = *text.kind.get_ref();
    if let Some((field, belongs, span)) = text.fields().into_iter().find(|(_, belongs, _)| *belongs != kind) {
        let source = FieldError::Foreign { belongs: belongs.word(), kind: kind.word() };
        return Err(growing.page.wrong(&span, field, source));
    }
    match kind {
        KindText::File => files(text, growing),
        KindText::Package => packages(text, growing),
        KindText::Container => containers(text, growing),
        KindText::OsImage => os_image(text, growing),
        KindText::LivePatch => live_patch(text, growing),
    }
}

/// A field that the step's kind must have.
fn must<T>(
    value: Option<T>,
    field: &'static str,
    kind: &Spanned<KindText>,
    growing: &Growing<'_>,
) -> Result<T, DescriptionError> {
    let absent = FieldError::Absent { kind: kind.get_ref().word() };
    value.ok_or_else(|| growing.page.wrong(&kind.span(), field, absent))
}

fn files(text: StepText, growing: &mut Growing<'_>) -> Result<Step, DescriptionError> {
    let files = must(text.files, "files", &text.kind, growing)?.into_inner();
    let files = files.into_iter().map(|file| one_file(file, growing)).collect::<Result<_, _>>()?;
    Ok(Step::File(FileSet { files }))
}

fn one_file(text: FileText, growing: &mut Growing<'_>) -> Result<FileSpec, DescriptionError> {
    if text.source.is_some() == text.remove {
        let source = FieldError::ComesOrGoes { path: text.path.get_ref().clone() };
        return Err(growing.page.wrong(&text.path.span(), "path", source));
    }
    let content = match &text.source {
        None => None,
        Some(source) => {
            let artifact = growing.file(source, "source")?;
            growing.unpacks(artifact.length);
            Some(artifact.sha256)
        }
    };
    let FileText { path, mode, owner, xattrs, .. } = text;
    Ok(FileSpec { path: path.into_inner(), content, mode, owner, xattrs })
}

fn packages(text: StepText, growing: &mut Growing<'_>) -> Result<Step, DescriptionError> {
    let named = must(text.packages, "packages", &text.kind, growing)?;
    let mut format = None;
    let mut packages = Vec::new();
    for path in named.get_ref() {
        let found = growing.page.beside(path.get_ref());
        let package =
            PackageFile::read(&found).map_err(|error| growing.page.wrong(&path.span(), "packages", error))?;
        if let Some(before) = format.filter(|before| *before != package.format) {
            let source = FieldError::MixedPackages { path: found, before };
            return Err(growing.page.wrong(&path.span(), "packages", source));
        }
        format = Some(package.format);
        growing.unpacks(package.installed_bytes);
        let file = growing.file(path, "packages")?.sha256;
        let PackageFile { name, version, architecture, .. } = package;
        packages.push(Package { file, name, version, architecture });
    }
    let format = must(format, "packages", &text.kind, growing)?;
    let conffiles = text.conffiles.map(Spanned::into_inner).unwrap_or_default();
    Ok(Step::Package(PackageSet { format, packages, conffiles }))
}

fn containers(text: StepText, growing: &mut Growing<'_>) -> Result<Step, DescriptionError> {
    let containers = must(text.containers, "containers", &text.kind, growing)?.into_inner();
    let containers = containers
        .into_iter()
        .map(|container| one_container(container, growing))
        .collect::<Result<_, _>>()?;
    let strategies = text.strategies.map_or_else(|| vec![Strategy::Replace], Spanned::into_inner);
    let drain_secs = text.drain_secs.map_or(ContainerSet::DRAIN_SECS_DEFAULT, Spanned::into_inner);
    Ok(Step::Container(ContainerSet { containers, strategies, drain_secs }))
}

fn one_container(text: ContainerText, growing: &mut Growing<'_>) -> Result<Container, DescriptionError> {
    let path = growing.page.beside(text.image.get_ref());
    let span = text.image.span();
    let held = Image::of_archive(&path).map_err(|error| growing.page.wrong(&span, "image", error))?;
    if let Some(stated) = &text.image_id {
        let wrong = |source| growing.page.wrong(&stated.span(), "image_id", source);
        let expected = image::parse_id(stated.get_ref()).map_err(|error| wrong(error.into()))?;
        if expected != held.id {
            return Err(wrong(FieldError::OtherImage { path, found: held.id }));
        }
    }
    match held.unpacked_bytes {
        Some(bytes) => growing.unpacks(bytes),
        None if growing.unpacked_stated => {}
        None => {
            let source = FieldError::CompressedLayers { path };
            return Err(growing.page.wrong(&span, "image", source));
        }
    }
    let read = |port: &Spanned<String>| {
        port::parse(port.get_ref()).map_err(|error| growing.page.wrong(&port.span(), "ports", error))
    };
    let ports = text.ports.iter().map(read).collect::<Result<_, _>>()?;
    let archive = growing.file(&text.image, "image")?.sha256;
    let ContainerText { name, env, command, volumes, memory_mib, network, stop_grace_secs, .. } = text;
    let stop_grace_secs = stop_grace_secs.unwrap_or(Container::STOP_GRACE_SECS_DEFAULT);
    let image_id = held.id;
    Ok(Container {
        name,
        archive,
        image_id,
        env,
        command,
        volumes,
        memory_mib,
        network,
        ports,
        stop_grace_secs,
    })
}

fn os_image(text: StepText, growing: &mut Growing<'_>) -> Result<Step, DescriptionError> {
    let bundle = must(text.bundle, "bundle", &text.kind, growing)?;
    let compatible = must(text.compatible, "compatible", &text.kind, growing)?;
    let version = must(text.version, "version", &text.kind, growing)?;
    let file = growing.file(&bundle, "bundle")?.sha256;
    let path = growing.page.beside(bundle.get_ref());
    let asked = Bundle::ask(&path).map_err(|error| growing.page.wrong(&bundle.span(), "bundle", error))?;
    match asked {
        None => growing.notes.push(format!(
            "rauc is not installed here: that {} is for '{}' and version '{}' has not been checked",
            path.display(),
            compatible.get_ref(),
            version.get_ref()
        )),
        Some(found) => {
            for (field, stated, found) in
                [("compatible", &compatible, found.compatible), ("version", &version, found.version)]
            {
                if *stated.get_ref() != found {
                    let source = FieldError::OtherBundle { found };
                    return Err(growing.page.wrong(&stated.span(), field, source));
                }
            }
        }
    }
    Ok(Step::OsImage(OsImage {
        bundle: file,
        compatible: compatible.into_inner(),
        version: version.into_inner(),
        boot_secs: text.boot_secs.map_or(OsImage::BOOT_SECS_DEFAULT, Spanned::into_inner),
    }))
}

fn live_patch(text: StepText, growing: &mut Growing<'_>) -> Result<Step, DescriptionError> {
    let module = must(text.module, "module", &text.kind, growing)?;
    let stands_for = must(text.stands_for, "stands_for", &text.kind, growing)?;
    let path = growing.page.beside(module.get_ref());
    let Module { name, kernel } =
        Module::read(&path).map_err(|error| growing.page.wrong(&module.span(), "module", error))?;
    let file = growing.file(&module, "module")?.sha256;
    Ok(Step::LivePatch(LivePatch {
        module: file,
        name,
        kernel,
        stands_for: stands_for.into_inner(),
        transition_secs: text.transition_secs.map_or(LivePatch::TRANSITION_SECS_DEFAULT, Spanned::into_inner),
    }))
}
