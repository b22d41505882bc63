//! Text and bytes given inline, in a file or in an environment variable.
//! Source: `envoy.config.core.v3.DataSource`.

use std::io::Read;

use outrigger_xds_protos::v3::core::DataSource;
use outrigger_xds_protos::v3::core::data_source::Specifier;

use super::fields;
use super::path::{Path, Rejection};
use super::scope::Scope;
use crate::xds::files::Stamp;

/// Largest file read: certificates, bundles and bodies are far smaller.
const MAX_FILE: u64 = 4 << 20;

/// Reads the source. Errors never show its content.
pub(super) fn read(source: &DataSource, path: &Path<'_>) -> Result<Vec<u8>, Rejection> {
    let DataSource {
        watched_directory: _, // The caller says whether watching is in effect.
        specifier,
    } = source;
    match specifier {
        None => Err(path.reject("needs one of filename, inline_string, inline_bytes, environment_variable")),
        Some(Specifier::InlineBytes(bytes)) => Ok(bytes.clone()),
        Some(Specifier::InlineString(text)) => Ok(text.clone().into_bytes()),
        Some(Specifier::Filename(name)) => read_file(name, &path.field("filename")),
        Some(Specifier::EnvironmentVariable(name)) => {
            let path = path.field("environment_variable");
            std::env::var(fields::required(name, &path)?)
                .map(String::into_bytes)
                .map_err(|_| path.reject(format_args!("{name} is not set, or is not text")))
        }
    }
}

/// The same for what belongs to TLS: a file is read again when it changes.
pub(super) fn watched(
    source: &DataSource,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<Vec<u8>, Rejection> {
    if let Some(Specifier::Filename(name)) = &source.specifier {
        // Before it is read: what is written meanwhile counts as a change.
        scope.context.files.insert(name.into(), Stamp::of(name.as_ref()));
    }
    read(source, path)
}

/// Where the content is, as `/certs` shows it.
pub(super) fn place(source: &DataSource) -> &str {
    match &source.specifier {
        Some(Specifier::Filename(name)) => name,
        _ => "<inline>",
    }
}

fn read_file(name: &str, path: &Path<'_>) -> Result<Vec<u8>, Rejection> {
    let fail = |error: std::io::Error| path.reject(format_args!("cannot read {name:?}: {error}"));
    let file = std::fs::File::open(fields::required(name, path)?).map_err(fail)?;
    // As large as it will be: what grows leaves copies behind, and this may be a key.
    let length = file.metadata().map_err(fail)?.len().min(MAX_FILE);
    let mut content = Vec::with_capacity(usize::try_from(length).unwrap_or(0) + 1);
    file.take(MAX_FILE + 1).read_to_end(&mut content).map_err(fail)?;
    if content.len() as u64 > MAX_FILE {
        return Err(path.reject(format_args!("{name:?} is larger than {MAX_FILE} bytes")));
    }
    Ok(content)
}
