//! Header mutation. Source: `envoy.extensions.filters.http.header_mutation.v3`,
//! `envoy.config.common.mutation_rules.v3.HeaderMutation`.

use outrigger_xds_protos::v3::header_mutation::{HeaderMutation as FilterMessage, Mutations};
use outrigger_xds_protos::v3::mutation_rules::HeaderMutation as MutationMessage;
use outrigger_xds_protos::v3::mutation_rules::header_mutation::{Action, RemoveOnMatch};

use crate::config::filter::headers::{HeaderMutation, HeaderMutations, MutationFilter};
use crate::xds::translate::fields::{self, refuse};
use crate::xds::translate::path::{Path, Rejection};
use crate::xds::translate::{headers, matchers};

/// The filter in a chain.
pub(super) fn filter(message: &FilterMessage, path: &Path<'_>) -> Result<MutationFilter, Rejection> {
    let FilterMessage { mutations: own, most_specific_header_mutations_wins } = message;
    Ok(MutationFilter {
        mutations: mutations(own.as_ref(), &path.field("mutations"))?,
        most_specific_wins: *most_specific_header_mutations_wins,
    })
}

/// The mutations of the filter or of a route.
pub(super) fn mutations(message: Option<&Mutations>, path: &Path<'_>) -> Result<HeaderMutations, Rejection> {
    let Some(message) = message else { return Ok(HeaderMutations::default()) };
    let Mutations {
        request_mutations,
        query_parameter_mutations,
        response_mutations,
        response_trailers_mutations,
        request_trailers_mutations,
    } = message;
    refuse!(path; query_parameter_mutations, response_trailers_mutations, request_trailers_mutations);
    Ok(HeaderMutations {
        request: list(request_mutations, &path.field("request_mutations"))?,
        response: list(response_mutations, &path.field("response_mutations"))?,
    })
}

fn list(messages: &[MutationMessage], path: &Path<'_>) -> Result<Vec<HeaderMutation>, Rejection> {
    messages.iter().enumerate().map(|(i, message)| one(message, &path.index(i))).collect()
}

fn one(message: &MutationMessage, path: &Path<'_>) -> Result<HeaderMutation, Rejection> {
    Ok(match &message.action {
        Some(Action::Remove(name)) => {
            HeaderMutation::Remove(headers::editable_name(name, &path.field("remove"))?)
        }
        Some(Action::Append(option)) => {
            HeaderMutation::Add(headers::addition(option, &path.field("append"))?)
        }
        Some(Action::RemoveOnMatch(RemoveOnMatch { key_matcher })) => {
            let path = path.field("remove_on_match");
            let path = path.field("key_matcher");
            HeaderMutation::RemoveMatching(matchers::string(fields::message(key_matcher, &path)?, &path)?)
        }
        None => return Err(path.reject("needs one of remove, append, remove_on_match")),
    })
}
