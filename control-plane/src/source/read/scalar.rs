//! Strings, numbers, booleans, keywords, durations, names.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::{Fields, FromNode, Reader, suggest};
use crate::model::{HttpMethod, HttpScheme, IpPreference, Kind, PortMapping, Protocol, Reference, arn_name};
use crate::source::node::{Node, Origin, Scalar};

/// Largest number of a duration, of the API.
const MAX_DURATION: i64 = 315_576_000_000;
/// Longest time that sidecars take.
const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

impl Reader<'_> {
    fn scalar<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n Scalar> {
        let scalar = node.as_scalar();
        match scalar {
            None => {
                let message =
                    format!("{what} must be a single value, found {}; write one value", node.shape());
                self.report.error(&node.at, "wrong-type", message);
            }
            Some(Scalar { origin: Origin::Missing(missing), .. }) => self.tell_missing(&node.at, missing),
            Some(_) => {}
        }
        scalar
    }

    /// A string; placeholders stand for what the files do not say.
    pub fn text(&mut self, node: &Node, what: &str) -> Option<String> {
        Some(self.scalar(node, what)?.text.clone())
    }

    /// Whether the files say all of a value.
    pub fn is_known(&self, node: &Node) -> bool {
        !node.as_scalar().is_some_and(|s| matches!(s.origin, Origin::Missing(_)))
    }

    /// A string that may be empty.
    pub fn text_or_empty(&mut self, node: &Node, what: &str) -> Option<String> {
        if node.value == crate::source::node::Value::Null {
            Some(String::new())
        } else {
            self.text(node, what)
        }
    }

    /// A string whose every part is known.
    fn known_text<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n str> {
        let scalar = self.scalar(node, what)?;
        (!matches!(scalar.origin, Origin::Missing(_))).then_some(scalar.text.as_str())
    }

    /// A string with a length in characters.
    pub fn bounded_text(&mut self, node: &Node, what: &str, length: RangeInclusive<usize>) -> Option<String> {
        let text = self.text(node, what)?;
        let found = text.chars().count();
        if length.contains(&found) {
            return Some(text);
        }
        let message = format!(
            "{what} is {found} characters long, but takes {} to {}; change its length",
            length.start(),
            length.end()
        );
        self.report.error(&node.at, "out-of-range", message);
        None
    }

    /// A whole number within a range.
    pub fn integer<T: TryFrom<i64>>(
        &mut self,
        node: &Node,
        what: &str,
        range: RangeInclusive<i64>,
    ) -> Option<T> {
        let text = self.known_text(node, what)?;
        let Ok(number) = text.trim().parse::<i64>() else {
            let message = format!("{what} must be a whole number, found \"{text}\"; write digits only");
            self.report.error(&node.at, "wrong-type", message);
            return None;
        };
        let value = range.contains(&number).then(|| T::try_from(number).ok()).flatten();
        if value.is_none() {
            let message =
                format!("{what} is {number}, but takes {} to {}; change it", range.start(), range.end());
            self.report.error(&node.at, "out-of-range", message);
        }
        value
    }

    /// One of a fixed set of words, compared exactly.
    pub fn keyword<T: Copy>(&mut self, node: &Node, what: &str, words: &[(&str, T)]) -> Option<T> {
        let text = self.known_text(node, what)?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let advice = match suggest(text, known.iter().copied()) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("use one of {}", known.join(", ")),
        };
        self.report.error(&node.at, "bad-value", format!("{what} cannot be \"{text}\"; {advice}"));
        None
    }

    /// The items of a list; all of them or none.
    pub fn items<T: FromNode>(
        &mut self,
        node: &Node,
        what: &str,
        count: RangeInclusive<usize>,
    ) -> Option<Vec<T>> {
        let empty = node.is_empty().then_some([].as_slice());
        let Some(items) = node.as_list().or(empty) else {
            let message = format!("{what} must be a list, found {}; write one item per line", node.shape());
            self.report.error(&node.at, "wrong-type", message);
            return None;
        };
        if !count.contains(&items.len()) {
            let (found, least, most) = (items.len(), count.start(), count.end());
            let message =
                format!("{what} has {found} items, but takes {least} to {most}; change their number");
            self.report.error(&node.at, "out-of-range", message);
            return None;
        }
        let read: Vec<T> = items.iter().filter_map(|item| T::from_node(item, self)).collect();
        (read.len() == items.len()).then_some(read)
    }

    /// The name of a resource of some kind. An ARN is taken for the name it ends in, with a warning.
    pub fn name(&mut self, node: &Node, what: &str, kind: Kind) -> Option<String> {
        let scalar = self.scalar(node, what)?;
        let name = match arn_name(&scalar.text, kind) {
            Some(name) => {
                self.warn_arn(node, what, kind, &name, &scalar.origin);
                name
            }
            None => scalar.text.clone(),
        };
        if self.is_known(node) { self.check_name(node, what, kind, name) } else { Some(name) }
    }

    fn warn_arn(&mut self, node: &Node, what: &str, kind: Kind, name: &str, origin: &Origin) {
        let attribute = capitalised(kind.name_key());
        let (code, message) = match origin {
            Origin::Ref(id) => (
                "ref-for-name",
                format!(
                    "{what} is given by Ref of {id}, which CloudFormation resolves to the ARN of the {}, not to \
                     its name; the name \"{name}\" is used here, write !GetAtt {id}.{attribute}",
                    kind.words()
                ),
            ),
            _ => (
                "arn-for-name",
                format!(
                    "{what} wants a name and has an ARN; the name \"{name}\" is used here, write it instead"
                ),
            ),
        };
        self.report.warn(&node.at, code, message);
    }

    fn check_name(&mut self, node: &Node, what: &str, kind: Kind, name: String) -> Option<String> {
        let length = name.chars().count();
        // `@` is what stands between mesh and owner in the ids of proxies.
        let is_bad =
            |c: &char| c.is_whitespace() || c.is_control() || *c == '/' || *c == '@' && kind == Kind::Mesh;
        let bad_character = name.chars().find(is_bad);
        let fault = match bad_character {
            Some(c) if kind == Kind::VirtualService => {
                format!("contains {c:?}; use letters, digits, hyphens, underscores and dots")
            }
            Some(c) => format!("contains {c:?}; use letters, digits, hyphens and underscores"),
            None if kind != Kind::VirtualService && !(1..=255).contains(&length) => {
                format!("is {length} characters long; use 1 to 255")
            }
            None if length == 0 => "is empty; write a name".to_owned(),
            None => return Some(name),
        };
        self.report.error(&node.at, "bad-name", format!("{what} {fault}"));
        None
    }
}

/// `virtualNodeName` as CloudFormation spells it.
pub(super) fn capitalised(key: &str) -> String {
    let mut chars = key.chars();
    chars.next().map(|c| c.to_ascii_uppercase().to_string() + chars.as_str()).unwrap_or_default()
}

impl Fields<'_> {
    /// A reference by name that must be there.
    pub fn reference(&mut self, key: &'static str, kind: Kind, cx: &mut Reader<'_>) -> Option<Reference> {
        self.required_with(key, cx, |node, cx| {
            let name = cx.name(node, key, kind)?;
            Some(Reference { name, at: node.at.clone().into() })
        })
    }

    /// An optional port number.
    pub fn port(&mut self, cx: &mut Reader<'_>) -> Option<u16> {
        self.integer("port", 1..=65535, cx)
    }
}

impl FromNode for String {
    fn from_node(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        cx.text(node, "the item")
    }
}

impl FromNode for u16 {
    fn from_node(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        cx.integer(node, "the port", 1..=65535)
    }
}

impl FromNode for bool {
    fn from_node(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        let words = [("true", true), ("false", false), ("True", true), ("False", false)];
        let more =
            [("TRUE", true), ("FALSE", false), ("yes", true), ("no", false), ("on", true), ("off", false)];
        cx.keyword(node, "the switch", &[words.as_slice(), more.as_slice()].concat())
    }
}

impl FromNode for Protocol {
    fn from_node(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        let all = [Protocol::Http, Protocol::Http2, Protocol::Grpc, Protocol::Tcp].map(|p| (p.name(), p));
        cx.keyword(node, "protocol", &all)
    }
}

impl FromNode for PortMapping {
    fn from_node(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        let mut fields = Fields::open(node, "portMapping", cx)?;
        let port = fields.required_integer("port", 1..=65535, cx);
        let protocol = fields.required("protocol", cx);
        fields.finish(cx)?;
        Some(Self { port: port?, protocol: protocol? })
    }
}

impl FromNode for IpPreference {
    fn from_node(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        let words = [
            ("IPv4_ONLY", Self::V4Only),
            ("IPv4_PREFERRED", Self::V4Preferred),
            ("IPv6_ONLY", Self::V6Only),
            ("IPv6_PREFERRED", Self::V6Preferred),
        ];
        cx.keyword(node, "ipPreference", &words)
    }
}

impl FromNode for HttpMethod {
    fn from_node(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        let all = [
            Self::Get,
            Self::Head,
            Self::Post,
            Self::Put,
            Self::Delete,
            Self::Connect,
            Self::Options,
            Self::Trace,
            Self::Patch,
        ];
        cx.keyword(node, "method", &all.map(|m| (m.name(), m)))
    }
}

impl FromNode for HttpScheme {
    fn from_node(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        cx.keyword(node, "scheme", &[("http", Self::Http), ("https", Self::Https)])
    }
}

impl FromNode for Duration {
    fn from_node(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        let mut fields = Fields::open(node, "the duration", cx)?;
        let units = [("s", 1000_u64), ("ms", 1)];
        let unit = fields.required_with("unit", cx, |n, cx| cx.keyword(n, "unit", &units));
        let value = fields.required_integer::<u64>("value", 0..=MAX_DURATION, cx);
        fields.finish(cx)?;
        let duration = Duration::from_millis(unit? * value?);
        if duration > CENTURY {
            let message =
                "the duration is longer than a century, which no sidecar takes; write a shorter one";
            cx.report.error(&node.at, "out-of-range", message);
            return None;
        }
        Some(duration)
    }
}
