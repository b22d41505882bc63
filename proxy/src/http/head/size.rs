//! How large heads are, as Envoy counts them: names and values with the pseudo-headers, nothing between them.

use super::{BodyLength, RequestHead};

/// A head, or several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeadSize {
    /// Bytes of names and values.
    pub bytes: u64,
    /// Fields.
    pub fields: u64,
}

impl HeadSize {
    /// Of `heads` response heads together, whose fields are that many bytes and fields; `:status` is one more of each.
    pub fn of_responses(heads: u64, bytes: u64, fields: u64) -> Self {
        const STATUS: u64 = (":status".len() + "200".len()) as u64;
        Self { bytes: bytes + heads * STATUS, fields: fields + heads }
    }

    fn add(&mut self, name: &str, value: usize) {
        self.bytes += (name.len() + value) as u64;
        self.fields += 1;
    }
}

impl RequestHead {
    /// The size of this head, whatever protocol takes it to the host.
    pub fn size(&self) -> HeadSize {
        let fields = self.block.fields();
        let bytes = fields.iter().map(|field| u64::from(field.name.len) + u64::from(field.value.len)).sum();
        let mut size = HeadSize { bytes, fields: fields.len() as u64 };
        size.add(":method", self.method_text().len());
        size.add(":scheme", self.scheme().len());
        for (name, value) in [(":authority", self.authority()), (":path", self.path_and_query())] {
            if !value.is_empty() {
                size.add(name, value.len());
            }
        }
        if let BodyLength::Fixed(length) = self.body {
            size.add("content-length", itoa::Buffer::new().format(length).len());
        }
        if self.accepts_trailers {
            size.add("te", "trailers".len());
        }
        if let Some(protocol) = self.upgrade {
            size.add("upgrade", protocol.len as usize);
            size.add("connection", "upgrade".len());
        }
        size
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::head::Method;

    #[test]
    fn pseudo_headers_and_framing_count_as_fields() {
        let mut head = RequestHead::unparsed();
        head.block.append(b"x-a", b"bc");
        head.method = Method::Post;
        head.method_text = head.block.push_text(b"POST");
        head.set_path(b"/p?q");
        head.set_authority(b"host");
        let parts = ["x-abc", ":methodPOST", ":schemehttp", ":authorityhost", ":path/p?q"];
        let bytes = |parts: &[&str]| parts.iter().map(|part| part.len() as u64).sum::<u64>();
        assert_eq!(head.size(), HeadSize { bytes: bytes(&parts), fields: 5 });
        head.body = BodyLength::Fixed(12);
        head.accepts_trailers = true;
        let more = bytes(&["content-length12", "tetrailers"]);
        assert_eq!(head.size(), HeadSize { bytes: bytes(&parts) + more, fields: 7 });
        head.upgrade = Some(head.block.push_text(b"websocket"));
        let upgrade = bytes(&["upgradewebsocket", "connectionupgrade"]);
        assert_eq!(head.size(), HeadSize { bytes: bytes(&parts) + more + upgrade, fields: 9 });
    }

    #[test]
    fn a_status_is_a_field_of_each_head() {
        assert_eq!(HeadSize::of_responses(2, 5, 1), HeadSize { bytes: 25, fields: 3 });
    }
}
