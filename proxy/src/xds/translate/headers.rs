//! Header additions and removals of one level.
//! Source: `envoy.config.core.v3.HeaderValueOption`, `*_headers_to_add`, `*_headers_to_remove`.

use outrigger_xds_protos::v3::core::header_value_option::HeaderAppendAction;
use outrigger_xds_protos::v3::core::{HeaderValue, HeaderValueOption};

use super::fields;
use super::fields::refuse;
use super::matchers::header_name;
use super::path::{Path, Rejection};
use crate::config::route::{AppendAction, HeaderAdd, HeaderEdits};
use crate::observe::format::Format;

#[cfg(test)]
mod tests;

/// The four lists that the route configuration, virtual host, route and weighted cluster messages share.
pub(super) struct Lists<'m> {
    pub(super) request_add: &'m [HeaderValueOption],
    pub(super) request_remove: &'m [String],
    pub(super) response_add: &'m [HeaderValueOption],
    pub(super) response_remove: &'m [String],
}

/// Compiles the edits of one level; `path` is the message that holds the lists.
pub(super) fn edits(lists: Lists<'_>, path: &Path<'_>) -> Result<HeaderEdits, Rejection> {
    Ok(HeaderEdits {
        request_add: additions(lists.request_add, &path.field("request_headers_to_add"))?,
        request_remove: removals(lists.request_remove, &path.field("request_headers_to_remove"))?,
        response_add: additions(lists.response_add, &path.field("response_headers_to_add"))?,
        response_remove: removals(lists.response_remove, &path.field("response_headers_to_remove"))?,
    })
}

/// Compiles a list of additions.
pub(super) fn additions(options: &[HeaderValueOption], path: &Path<'_>) -> Result<Vec<HeaderAdd>, Rejection> {
    options.iter().enumerate().map(|(i, option)| addition(option, &path.index(i))).collect()
}

/// Compiles a list of removals.
pub(super) fn removals(names: &[String], path: &Path<'_>) -> Result<Vec<Box<str>>, Rejection> {
    names.iter().enumerate().map(|(i, name)| editable_name(name, &path.index(i))).collect()
}

#[allow(deprecated, reason = "`append` is still sent by control planes older than append_action")]
pub(super) fn addition(option: &HeaderValueOption, path: &Path<'_>) -> Result<HeaderAdd, Rejection> {
    let HeaderValueOption { header, append, append_action, keep_empty_value } = option;
    let header_path = path.field("header");
    let HeaderValue { key, value, raw_value } = fields::message(header, &header_path)?;
    refuse!(header_path; raw_value);
    let action = match append {
        Some(_) if *append_action != 0 => {
            return Err(path.field("append").reject("cannot be combined with append_action"));
        }
        Some(append) if !append.value => AppendAction::OverwriteOrAdd,
        Some(_) => AppendAction::AppendOrAdd,
        None => append_action_of(*append_action, &path.field("append_action"))?,
    };
    let format = Format::parse(value).map_err(|error| header_path.field("value").reject(error))?;
    let name = editable_name(key, &header_path.field("key"))?;
    Ok(HeaderAdd { name, value: format, action, keep_empty: *keep_empty_value })
}

fn append_action_of(number: i32, path: &Path<'_>) -> Result<AppendAction, Rejection> {
    Ok(match HeaderAppendAction::try_from(number) {
        Ok(HeaderAppendAction::AppendIfExistsOrAdd) => AppendAction::AppendOrAdd,
        Ok(HeaderAppendAction::AddIfAbsent) => AppendAction::AddIfAbsent,
        Ok(HeaderAppendAction::OverwriteIfExistsOrAdd) => AppendAction::OverwriteOrAdd,
        Ok(HeaderAppendAction::OverwriteIfExists) => AppendAction::OverwriteIfExists,
        Err(_) => return Err(path.reject(fields::unknown_enum(number))),
    })
}

/// A header that edits may touch: `:`-prefixed ones and Host have rewrites of their own.
pub(super) fn editable_name(name: &str, path: &Path<'_>) -> Result<Box<str>, Rejection> {
    let name = header_name(name, path)?;
    if name.starts_with(':') || &*name == "host" {
        return Err(
            path.reject(format_args!("{name} cannot be edited here; use a rewrite of the route action"))
        );
    }
    Ok(name)
}
