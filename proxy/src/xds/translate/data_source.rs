//! Text and bytes given inline, in a file or in an environment variable.
//! Source: `envoy.config.core.v3.DataSource`.

use std::io::Read;

use outrigger_xds_protos::v3::core::DataSource;
use outrigger_xds_protos::v3::core::data_source::Specifier;

use super::fields;
use super::path::{Path, Rejection};

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
    let mut content = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut content).map_err(fail)?;
    if content.len() as u64 > MAX_FILE {
        return Err(path.reject(format_args!("{name:?} is larger than {MAX_FILE} bytes")));
    }
    Ok(content)
}
