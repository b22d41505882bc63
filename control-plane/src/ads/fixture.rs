//! Resources for the tests of the machines: a name, some content, and what it refers to.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::snapshot::{NodeSnapshot, Reference, Resource, TypeSnapshot, TypeUrl, Version};

pub fn resource(name: &str, content: &str) -> Arc<Resource> {
    parent(name, content, [])
}

pub fn parent<const N: usize>(name: &str, content: &str, children: [(TypeUrl, &str); N]) -> Arc<Resource> {
    let any = Bytes::from(format!("{name}={content}"));
    let reference = |(type_url, name): (TypeUrl, &str)| Reference { type_url, name: name.to_owned() };
    let children = children.into_iter().map(reference).collect();
    Arc::new(Resource { name: name.into(), version: Version::of(&any), any, children })
}

pub fn set<const N: usize>(resources: [(&str, &str); N]) -> TypeSnapshot {
    TypeSnapshot::new(resources.map(|(name, content)| resource(name, content)))
}

/// EDS clusters (each with its endpoints under the same name), endpoints, listeners (each with routes), routes.
pub fn snapshot(
    clusters: &[(&str, &str)],
    endpoints: &[(&str, &str)],
    listeners: &[(&str, &str)],
    routes: &[(&str, &str)],
) -> NodeSnapshot {
    let with = |list: &[(&str, &str)], child: Option<TypeUrl>| {
        TypeSnapshot::new(list.iter().map(|(name, content)| match &child {
            Some(child) => parent(name, content, [(child.clone(), *name)]),
            None => resource(name, content),
        }))
    };
    NodeSnapshot::new(BTreeMap::from([
        (TypeUrl::CLUSTER, with(clusters, Some(TypeUrl::ENDPOINTS))),
        (TypeUrl::ENDPOINTS, with(endpoints, None)),
        (TypeUrl::LISTENER, with(listeners, Some(TypeUrl::ROUTE))),
        (TypeUrl::ROUTE, with(routes, None)),
    ]))
}

/// Names of resources, for comparing with what a test expects.
pub fn names(resources: &[Arc<Resource>]) -> Vec<&str> {
    resources.iter().map(|r| &*r.name).collect()
}

/// Owned strings for requests.
pub fn strings<const N: usize>(texts: [&str; N]) -> Vec<String> {
    texts.map(str::to_owned).to_vec()
}
