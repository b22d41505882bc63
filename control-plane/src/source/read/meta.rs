//! Names, mesh, parent and tags of a resource, and the choice of its reader by kind.

use super::listener::pair;
use super::scalar::capitalised;
use super::{Fields, FromNode, Reader};
use crate::diagnostics::Position;
use crate::model::{Definitions, Kind, MeshId, Meta, OURS, Reference, Resource};
use crate::source::node::Node;

/// What the format around a resource knows about it.
pub struct Identity<'a> {
    /// The resource kind.
    pub kind: Kind,
    /// Where the resource begins.
    pub at: &'a Position,
    /// The name it gets when it has none of its own.
    pub generated_name: Option<String>,
    /// The account that the definitions belong to, if the user said it.
    pub account: Option<&'a str>,
    /// Keys of the format that say nothing about the resource.
    pub ignored: &'a [&'static str],
}

/// Reads one resource from its properties (names and `spec`) into `into`.
pub fn read_resource(node: &Node, identity: &Identity<'_>, cx: &mut Reader<'_>, into: &mut Definitions) {
    let Some(mut fields) = Fields::open(node, identity.kind.name(), cx) else { return };
    let meta = read_meta(&mut fields, identity, cx);
    let spec = match fields.entry("spec", cx) {
        Some(entry) => Some(entry.value.clone()),
        None if identity.kind == Kind::Mesh => {
            Some(Node { value: crate::source::node::Value::Null, ..node.clone() })
        }
        None => {
            fields.absent("spec", cx);
            None
        }
    };
    for key in identity.ignored {
        let _ = fields.lenient(key);
    }
    let whole = fields.finish(cx).is_some();
    let Some(meta) = meta else { return };
    let spec = spec.filter(|_| whole);
    dispatch(meta, spec.as_ref(), identity.kind, cx, into);
}

fn dispatch(meta: Meta, spec: Option<&Node>, kind: Kind, cx: &mut Reader<'_>, into: &mut Definitions) {
    let unread = &mut into.unread;
    match kind {
        Kind::Mesh => place(meta, spec, kind, cx, &mut into.meshes, unread),
        Kind::VirtualNode => place(meta, spec, kind, cx, &mut into.virtual_nodes, unread),
        Kind::VirtualService => place(meta, spec, kind, cx, &mut into.virtual_services, unread),
        Kind::VirtualRouter => place(meta, spec, kind, cx, &mut into.virtual_routers, unread),
        Kind::Route => place(meta, spec, kind, cx, &mut into.routes, unread),
        Kind::VirtualGateway => place(meta, spec, kind, cx, &mut into.virtual_gateways, unread),
        Kind::GatewayRoute => place(meta, spec, kind, cx, &mut into.gateway_routes, unread),
    }
}

fn place<S: FromNode>(
    meta: Meta,
    spec: Option<&Node>,
    kind: Kind,
    cx: &mut Reader<'_>,
    into: &mut Vec<Resource<S>>,
    unread: &mut Vec<(Kind, Meta)>,
) {
    match spec.and_then(|node| S::from_node(node, cx)) {
        Some(spec) => into.push(Resource { meta, spec }),
        None => unread.push((kind, meta)),
    }
}

fn read_meta(fields: &mut Fields<'_>, identity: &Identity<'_>, cx: &mut Reader<'_>) -> Option<Meta> {
    let kind = identity.kind;
    let name = own_name(fields, identity, cx);
    let mesh = match kind {
        Kind::Mesh => name.clone(),
        _ => fields.reference(Kind::Mesh.name_key(), Kind::Mesh, cx).map(|r| r.name),
    };
    let shared = kind != Kind::Mesh && fields.value("meshOwner", cx).is_some();
    let owner = owner(fields, cx).or_else(|| identity.account.map(str::to_owned));
    let parent = kind.parent().map(|parent| fields.reference(parent.name_key(), parent, cx));
    let tags: Vec<Tag> = fields.list("tags", 0..=50, cx);
    let parent: Option<Reference> = match parent {
        Some(reference) => Some(reference?),
        None => None,
    };
    Some(Meta {
        name: name?,
        mesh: MeshId { name: mesh?, owner },
        shared,
        parent,
        tags: tags.into_iter().map(|Tag(key, value)| (key, value)).collect(),
        at: identity.at.clone(),
    })
}

/// A tag. What the files do not say of it matters in our own alone.
struct Tag(String, String);

impl FromNode for Tag {
    fn from_node(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        let (key, value) = pair(node, cx, |key, node, cx| match node.as_text() {
            Some(text) if !key.is_some_and(|key| key.starts_with(OURS)) => Some(text.to_owned()),
            _ => cx.text_or_empty(node, "value"),
        })?;
        Some(Self(key, value))
    }
}

fn own_name(fields: &mut Fields<'_>, identity: &Identity<'_>, cx: &mut Reader<'_>) -> Option<String> {
    let key = identity.kind.name_key();
    let written = fields.value(key, cx).is_some();
    let name = fields.optional_with(key, cx, |n, cx| cx.name(n, key, identity.kind));
    let generated = identity.generated_name.as_ref().filter(|_| identity.kind != Kind::VirtualService);
    match generated {
        _ if written => return name,
        Some(name) => {
            let message = format!(
                "the {} has no {}, so it is called \"{name}\"; write one to choose the name",
                identity.kind.words(),
                capitalised(key)
            );
            cx.report.info(identity.at, "generated-name", message);
        }
        None => fields.absent(key, cx),
    }
    generated.cloned()
}

fn owner(fields: &mut Fields<'_>, cx: &mut Reader<'_>) -> Option<String> {
    let owner = fields.optional_with("meshOwner", cx, |node, cx| {
        if !cx.is_known(node) {
            cx.text(node, "meshOwner")?;
            return Some(None);
        }
        let text = cx.text(node, "meshOwner")?;
        if text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit()) {
            return Some(Some(text));
        }
        let message = format!("meshOwner \"{text}\" is not an account number; write its 12 digits");
        cx.report.error(&node.at, "bad-value", message);
        None
    });
    owner.flatten()
}
