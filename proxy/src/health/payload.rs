//! Byte blocks that an answer must hold. Source: Envoy `PayloadMatcher::match`.

use memchr::memmem;

/// Whether the blocks occur in this order, whatever lies between them.
pub(super) fn is_in_order(bytes: &[u8], blocks: &[Box<[u8]>]) -> bool {
    let mut rest = bytes;
    blocks.iter().all(|block| match memmem::find(rest, block) {
        Some(at) => {
            rest = &rest[at + block.len()..];
            true
        }
        None => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(texts: &[&str]) -> Vec<Box<[u8]>> {
        texts.iter().map(|text| text.as_bytes().into()).collect()
    }

    #[test]
    fn blocks_are_found_in_order_only() {
        assert!(is_in_order(b"a--b", &blocks(&["a", "b"])));
        assert!(!is_in_order(b"b--a", &blocks(&["a", "b"])));
        assert!(!is_in_order(b"a", &blocks(&["a", "a"])));
        assert!(is_in_order(b"", &[]));
    }
}
