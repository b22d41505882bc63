//! Path templates: `/{name}/*/{rest=**}.ext` as a condition, and paths written from what its variables matched.
//! Source: `envoy.extensions.path.match.uri_template.v3`, `envoy.extensions.path.rewrite.uri_template.v3`. Segments:
//! a literal, `*` (one segment), `**` (anything up to the end), `{variable}` or `{variable=pattern}`.

use outrigger_xds_protos::any::{self, Typed};
use outrigger_xds_protos::pb::envoy::extensions::path::r#match::uri_template::v3::UriTemplateMatchConfig;
use outrigger_xds_protos::pb::envoy::extensions::path::rewrite::uri_template::v3::UriTemplateRewriteConfig;
use outrigger_xds_protos::v3::core::TypedExtensionConfig;
use regex::bytes::Regex;

use super::fields;
use super::path::{Path, Rejection};
use crate::config::route::PathRewrite;
use outrigger_grammar::regex::full_match;

/// What stars match within a segment (RFC 3986, `pchar`).
const SEGMENT: &str = r"a-zA-Z0-9\-._~%!$&'()*+,;:@=";
/// Most variables of a template.
const MOST_VARIABLES: usize = 5;
/// Longest name of a variable.
const LONGEST_NAME: usize = 16;
/// Longest template.
const LONGEST: usize = 256;

/// A compiled template.
pub(super) struct UriTemplate {
    /// Matches whole paths; each variable is a named group.
    pub(super) pattern: Regex,
    variables: Vec<String>,
}

impl UriTemplate {
    /// Reads a `path_match_policy`; `path` is that field.
    pub(super) fn read(policy: &TypedExtensionConfig, path: &Path<'_>) -> Result<Self, Rejection> {
        let UriTemplateMatchConfig { path_template } = unpack(policy, path)?;
        let path = path.field("typed_config");
        let path = path.field("path_template");
        let template = checked(&path_template, &path)?;
        let mut parser = Parser { pattern: String::new(), variables: Vec::new(), after_rest: false };
        parser.template(template).map_err(|problem| path.reject(problem))?;
        let pattern = full_match(&parser.pattern).map_err(|error| path.reject(error))?;
        Ok(Self { pattern, variables: parser.variables })
    }
}

/// Compiles a `path_rewrite_policy` over the route's template; `path` is the route action.
pub(super) fn rewrite(
    policy: &Option<TypedExtensionConfig>,
    template: Option<&UriTemplate>,
    path: &Path<'_>,
) -> Result<Option<PathRewrite>, Rejection> {
    let Some(policy) = policy else { return Ok(None) };
    let path = path.field("path_rewrite_policy");
    let UriTemplateRewriteConfig { path_template_rewrite } = unpack(policy, &path)?;
    let path = path.field("typed_config");
    let path = path.field("path_template_rewrite");
    let Some(template) = template else {
        return Err(path.reject("needs a path_match_policy with a path_template in the route's match"));
    };
    let text = checked(&path_template_rewrite, &path)?;
    let substitution = substitution(text, template).map_err(|problem| path.reject(problem))?;
    Ok(Some(PathRewrite::Regex {
        pattern: template.pattern.clone(),
        substitution: substitution.into_bytes().into_boxed_slice(),
    }))
}

fn unpack<M: Typed>(policy: &TypedExtensionConfig, path: &Path<'_>) -> Result<M, Rejection> {
    let TypedExtensionConfig { name: _, typed_config } = policy;
    let path = path.field("typed_config");
    any::unpack(fields::message(typed_config, &path)?).map_err(|error| path.reject(error))
}

fn checked<'t>(text: &'t str, path: &Path<'_>) -> Result<&'t str, Rejection> {
    if text.len() > LONGEST {
        return Err(path.reject(format_args!("is longer than {LONGEST} bytes")));
    }
    if !text.starts_with('/') || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(path.reject("must start with / and hold printable ASCII only"));
    }
    Ok(text)
}

/// Writes the regular expression.
struct Parser {
    pattern: String,
    variables: Vec<String>,
    /// There was a `**`: no further star can be told from it.
    after_rest: bool,
}

impl Parser {
    fn template(&mut self, text: &str) -> Result<(), String> {
        let mut rest = text.get(1..).unwrap_or_default();
        self.pattern.push('/');
        while !rest.is_empty() {
            rest = self.segment(rest)?;
            match rest.strip_prefix('/') {
                Some(next) => {
                    self.pattern.push('/');
                    rest = next;
                }
                None if rest.is_empty() => {}
                None if rest.contains('/') => {
                    return Err(format!("{rest:?} follows a segment and is not the end of the template"));
                }
                // What follows a star or a variable within the last segment.
                None => {
                    self.literal(rest)?;
                    rest = "";
                }
            }
        }
        Ok(())
    }

    /// One segment; what follows it.
    fn segment<'t>(&mut self, text: &'t str) -> Result<&'t str, String> {
        if let Some(inner) = text.strip_prefix('{') {
            let (variable, rest) = inner.split_once('}').ok_or("a { has no }")?;
            self.variable(variable)?;
            return Ok(rest);
        }
        if text.starts_with('*') {
            return self.star(text);
        }
        let (literal, rest) = text.split_at(text.find('/').unwrap_or(text.len()));
        self.literal(literal)?;
        Ok(rest)
    }

    fn variable(&mut self, text: &str) -> Result<(), String> {
        let (name, pattern) = text.split_once('=').map_or((text, None), |(name, it)| (name, Some(it)));
        check_name(name)?;
        if self.variables.iter().any(|known| known == name) {
            return Err(format!("variable {name:?} occurs twice"));
        }
        if self.variables.len() == MOST_VARIABLES {
            return Err(format!("has more than {MOST_VARIABLES} variables"));
        }
        self.variables.push(name.to_owned());
        self.pattern.push_str(&format!("(?P<{name}>"));
        for (at, part) in pattern.unwrap_or("*").split('/').enumerate() {
            if at > 0 {
                self.pattern.push('/');
            }
            match part.starts_with('*') {
                true if !self.star(part)?.is_empty() => {
                    return Err(format!("{part:?} in variable {name:?} is neither * nor **"));
                }
                true => {}
                false => self.literal(part)?,
            }
        }
        self.pattern.push(')');
        Ok(())
    }

    fn star<'t>(&mut self, text: &'t str) -> Result<&'t str, String> {
        if self.after_rest {
            return Err("a star or variable follows **".to_owned());
        }
        match text.strip_prefix("**") {
            Some(rest) => {
                self.after_rest = true;
                self.pattern.push_str(&format!("[{SEGMENT}/]*"));
                Ok(rest)
            }
            None => {
                self.pattern.push_str(&format!("[{SEGMENT}]+"));
                Ok(text.get(1..).unwrap_or_default())
            }
        }
    }

    fn literal(&mut self, text: &str) -> Result<(), String> {
        if text.is_empty() || !text.bytes().all(is_literal) {
            return Err(format!("{text:?} cannot be a literal of a template"));
        }
        self.pattern.push_str(&regex::escape(text));
        Ok(())
    }
}

fn is_literal(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()+,;:@=".contains(&byte)
}

fn check_name(name: &str) -> Result<(), String> {
    let mut bytes = name.bytes();
    let starts = bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic());
    if starts && name.len() <= LONGEST_NAME && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    {
        return Ok(());
    }
    Err(format!("{name:?} is not a name of a variable: a letter, then letters, digits and _, 16 at most"))
}

/// The replacement in the regex crate's notation.
fn substitution(text: &str, template: &UriTemplate) -> Result<String, String> {
    if text.contains("//") {
        return Err("holds an empty segment".to_owned());
    }
    let mut out = String::new();
    let mut rest = text;
    while let Some((literal, tail)) = rest.split_once('{') {
        let (name, tail) = tail.split_once('}').ok_or("a { has no }")?;
        if !template.variables.iter().any(|known| known == name) {
            return Err(format!("the path_template has no variable {name:?}"));
        }
        push_literal(&mut out, literal)?;
        out.push_str(&format!("${{{name}}}"));
        rest = tail;
    }
    push_literal(&mut out, rest)?;
    Ok(out)
}

fn push_literal(out: &mut String, text: &str) -> Result<(), String> {
    if !text.bytes().all(|byte| byte == b'/' || is_literal(byte)) {
        return Err(format!("{text:?} cannot be a literal of a path"));
    }
    out.push_str(&text.replace('$', "$$"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(text: &str) -> Result<UriTemplate, String> {
        let mut parser = Parser { pattern: String::new(), variables: Vec::new(), after_rest: false };
        parser.template(text)?;
        let pattern = full_match(&parser.pattern).map_err(|error| error.to_string())?;
        Ok(UriTemplate { pattern, variables: parser.variables })
    }

    #[test]
    fn templates_match_by_segment() {
        for (text, fits, does_not) in [
            ("/a/*/c", "/a/b/c", "/a/b/b/c"),
            ("/a/*", "/a/b", "/a/"),
            ("/a/**", "/a/b/c/", "/ab"),
            ("/{x}/{y}", "/1/2", "/1"),
            ("/{x=a/*}/z", "/a/b/z", "/b/b/z"),
            ("/{x=**}.m3u8", "/a/b.m3u8", "/a/b.m3u9"),
            ("/a.b", "/a.b", "/axb"),
            ("/a/", "/a/", "/a"),
            ("/", "/", "/a"),
        ] {
            let compiled = template(text).unwrap();
            assert!(compiled.pattern.is_match(fits.as_bytes()), "{text} {fits}");
            assert!(!compiled.pattern.is_match(does_not.as_bytes()), "{text} {does_not}");
        }
    }

    #[test]
    fn templates_that_mean_nothing_are_refused() {
        for text in [
            "/a//b",
            "/{x",
            "/{1x}",
            "/{x}/{x}",
            "/**/*",
            "/**/{x}",
            "/{x=}",
            "/{x=*b}",
            "/*a/b",
            "/a{x}",
            "/{a}/{b}/{c}/{d}/{e}/{f}",
            "/{abcdefghijklmnopq}",
            "/a^b",
        ] {
            assert!(template(text).is_err(), "{text}");
        }
    }

    #[test]
    fn paths_are_written_from_variables() {
        let compiled = template("/{x}/{rest=**}").unwrap();
        let written = |text: &str, path: &str| {
            let with = substitution(text, &compiled)?;
            let out = compiled.pattern.replace_all(path.as_bytes(), with.as_bytes()).into_owned();
            Ok::<_, String>(String::from_utf8(out).unwrap())
        };
        assert_eq!(written("/{rest}/{x}", "/a/b/c"), Ok("/b/c/a".to_owned()));
        assert_eq!(written("/p$1{x}1", "/a/b"), Ok("/p$1a1".to_owned()));
        assert!(written("/{y}", "/a/b").is_err());
        assert!(written("/{x", "/a/b").is_err());
        assert!(written("//{x}", "/a/b").is_err());
    }
}
