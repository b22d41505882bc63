//! `/config_dump`: whole, one repeated field of it, masked, or by resource name.
//! Source: `envoy.admin.v3.ConfigDump` and Envoy's handler of the query parameters.

use hyper::StatusCode;
use regex::Regex;
use serde_json::{Map, Value, json};

use super::query::Query;
use super::reply::Reply;

/// Repeated fields of the sections and the messages in them.
const ELEMENTS: &[(&str, &str)] = &[
    ("static_clusters", "ClustersConfigDump.StaticCluster"),
    ("dynamic_active_clusters", "ClustersConfigDump.DynamicCluster"),
    ("dynamic_warming_clusters", "ClustersConfigDump.DynamicCluster"),
    ("static_endpoint_configs", "EndpointsConfigDump.StaticEndpointConfig"),
    ("dynamic_endpoint_configs", "EndpointsConfigDump.DynamicEndpointConfig"),
    ("static_listeners", "ListenersConfigDump.StaticListener"),
    ("dynamic_listeners", "ListenersConfigDump.DynamicListener"),
    ("inline_scoped_route_configs", "ScopedRoutesConfigDump.InlineScopedRouteConfigs"),
    ("dynamic_scoped_route_configs", "ScopedRoutesConfigDump.DynamicScopedRouteConfigs"),
    ("static_route_configs", "RoutesConfigDump.StaticRouteConfig"),
    ("dynamic_route_configs", "RoutesConfigDump.DynamicRouteConfig"),
    ("static_secrets", "SecretsConfigDump.StaticSecret"),
    ("dynamic_active_secrets", "SecretsConfigDump.DynamicSecret"),
    ("dynamic_warming_secrets", "SecretsConfigDump.DynamicSecret"),
    ("ecds_filters", "EcdsConfigDump.EcdsFilterConfig"),
];

/// Answers `/config_dump` from the sections.
pub(super) fn config_dump(mut sections: Vec<Value>, query: &Query) -> Reply {
    match query.get("name_regex").map(full_match).transpose() {
        Ok(Some(names)) => sections.iter_mut().for_each(|section| keep_named(section, &names)),
        Ok(None) => {}
        Err(error) => {
            return Reply::error(
                StatusCode::BAD_REQUEST,
                format!("Error while parsing name_regex: {error}\n"),
            );
        }
    }
    let mask = query.get("mask").filter(|mask| !mask.is_empty()).map(Mask::parse);
    let configs = match query.get("resource").filter(|resource| !resource.is_empty()) {
        None => whole(sections, mask.as_ref()),
        Some(resource) => match elements(&sections, resource) {
            Some(found) => masked(found, mask.as_ref()),
            None => {
                return Reply::error(StatusCode::NOT_FOUND, format!("{resource} not found in config dump"));
            }
        },
    };
    Reply::json(&json!({ "configs": configs }))
}

fn full_match(pattern: &str) -> Result<Regex, regex::Error> {
    Regex::new(&format!("^(?:{pattern})$"))
}

/// Keeps the resources whose name matches; sections without named resources stay as they are.
fn keep_named(section: &mut Value, names: &Regex) {
    let Value::Object(section) = section else { return };
    for (field, _) in ELEMENTS {
        if let Some(Value::Array(elements)) = section.get_mut(*field) {
            elements.retain(|element| resource_name(element).is_some_and(|name| names.is_match(name)));
        }
    }
}

/// The name of the resource in one element: its own, or that of the resource it holds.
fn resource_name(element: &Value) -> Option<&str> {
    let own = element.get("name").and_then(Value::as_str);
    own.or_else(|| {
        let inner = ["cluster", "listener", "route_config", "secret", "endpoint_config"];
        let inner = inner.iter().find_map(|field| element.get(*field))?;
        inner.get("name").or_else(|| inner.get("cluster_name"))?.as_str()
    })
}

/// The elements of the repeated field `resource`, each with its type. `None` when there is no such field.
fn elements(sections: &[Value], resource: &str) -> Option<Vec<Value>> {
    let (field, message) = ELEMENTS.iter().find(|(field, _)| *field == resource)?;
    let type_url = json!(format!("type.googleapis.com/envoy.admin.v3.{message}"));
    let lists = sections.iter().filter_map(|section| section.get(*field)?.as_array());
    let typed = |element: &Value| {
        let mut typed = Map::from_iter([("@type".to_owned(), type_url.clone())]);
        typed.extend(element.as_object().cloned().unwrap_or_default());
        Value::Object(typed)
    };
    Some(lists.flatten().map(typed).collect())
}

/// Sections of which the mask leaves nothing are left out.
fn whole(sections: Vec<Value>, mask: Option<&Mask>) -> Vec<Value> {
    let Some(mask) = mask else { return sections };
    let mut kept = masked(sections, Some(mask));
    kept.retain(|section| section.as_object().is_some_and(|fields| fields.len() > 1));
    kept
}

fn masked(mut configs: Vec<Value>, mask: Option<&Mask>) -> Vec<Value> {
    if let Some(mask) = mask {
        configs.iter_mut().for_each(|config| mask.apply(config));
    }
    configs
}

/// A field mask as a tree of names; a leaf keeps everything below it.
#[derive(Debug, Default)]
struct Mask {
    fields: Vec<(String, Mask)>,
}

impl Mask {
    /// Reads comma-separated dotted paths.
    fn parse(text: &str) -> Self {
        let mut root = Mask::default();
        for path in text.split(',') {
            path.split('.').fold(&mut root, |node, name| node.child(name.trim()));
        }
        root
    }

    fn child(&mut self, name: &str) -> &mut Mask {
        let at = match self.fields.iter().position(|(known, _)| known == name) {
            Some(at) => at,
            None => {
                self.fields.push((name.to_owned(), Mask::default()));
                self.fields.len() - 1
            }
        };
        &mut self.fields[at].1
    }

    fn apply(&self, value: &mut Value) {
        if self.fields.is_empty() {
            return;
        }
        match value {
            Value::Object(object) => {
                object.retain(|name, inner| match self.fields.iter().find(|(known, _)| known == name) {
                    Some((_, mask)) => {
                        mask.apply(inner);
                        true
                    }
                    None => name == "@type",
                });
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.apply(item)),
            _ => {}
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
