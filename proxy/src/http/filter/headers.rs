//! `envoy.filters.http.header_mutation`: removals and additions, one after the other.

use super::Call;
use crate::config::filter::RouteFilter;
use crate::config::filter::headers::{HeaderMutation, HeaderMutations, MutationFilter};
use crate::config::route::HeaderAdd;
use crate::http::edits;
use crate::http::head::{HeaderBlock, ResponseHead};
use crate::observe::record::Record;

/// The filter's own mutations, then those of routes: the table's last unless the filter says otherwise.
fn in_order<'r>(
    filter: &'r MutationFilter,
    configs: impl Iterator<Item = &'r RouteFilter>,
    mut apply: impl FnMut(&HeaderMutations),
) {
    apply(&filter.mutations);
    let mut levels: smallvec::SmallVec<[&HeaderMutations; 4]> = configs
        .filter_map(|config| match config {
            RouteFilter::Headers(mutations) => Some(&**mutations),
            _ => None,
        })
        .collect();
    if filter.most_specific_wins {
        levels.reverse();
    }
    levels.into_iter().for_each(apply);
}

pub(super) fn request<'r>(
    filter: &'r MutationFilter,
    configs: impl Iterator<Item = &'r RouteFilter>,
    call: &mut Call<'_, 'r>,
) {
    in_order(filter, configs, |mutations| {
        for mutation in &mutations.request {
            let values = match mutation {
                HeaderMutation::Add(add) => {
                    let record = call.summary.record(Some(&*call.head));
                    edits::render(std::slice::from_ref(add), &record)
                }
                _ => Vec::new(),
            };
            mutate(mutation, &values, edits::add_to_request, &mut call.head.block);
        }
    });
}

pub(super) fn response<'r>(
    filter: &'r MutationFilter,
    configs: impl Iterator<Item = &'r RouteFilter>,
    call: &Call<'_, 'r>,
    response: &mut ResponseHead,
) {
    in_order(filter, configs, |mutations| {
        for mutation in &mutations.response {
            let values = match mutation {
                HeaderMutation::Add(add) => {
                    let record =
                        Record { response: Some(response), ..call.summary.record(Some(&*call.head)) };
                    edits::render(std::slice::from_ref(add), &record)
                }
                _ => Vec::new(),
            };
            mutate(mutation, &values, edits::add_to_response, &mut response.block);
        }
    });
}

fn mutate(
    mutation: &HeaderMutation,
    values: &edits::Values,
    add: fn(&[HeaderAdd], &edits::Values, &mut HeaderBlock),
    block: &mut HeaderBlock,
) {
    match mutation {
        HeaderMutation::Remove(name) => block.remove_named(name.as_bytes()),
        HeaderMutation::RemoveMatching(matcher) => block.retain(|_, name, _| !matcher.matches(name)),
        HeaderMutation::Add(one) => add(std::slice::from_ref(one), values, block),
    }
}
