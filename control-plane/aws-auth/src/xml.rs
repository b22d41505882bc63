//! The few texts that are wanted of STS's answers.

/// The text of the only element with this name, without entities.
pub(crate) fn text<'x>(xml: &'x str, name: &str) -> Option<&'x str> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let (_, rest) = xml.split_once(&open)?;
    let (text, after) = rest.split_once(&close)?;
    let plain = !text.contains(['<', '&']) && !after.contains(&open);
    plain.then(|| text.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_plain_element_has_a_text() {
        assert_eq!(text("<a><Arn> x </Arn></a>", "Arn"), Some("x"));
        for odd in ["<Arn>x", "x</Arn>", "<Arn>x</Arn><Arn>y</Arn>", "<Arn><b/></Arn>", "<Arn>&lt;</Arn>", ""]
        {
            assert_eq!(text(odd, "Arn"), None, "{odd}");
        }
    }
}
