//! Functions that take arbitrary bytes and panic where something does not hold, each beside what it is about. The tests
//! feed them their seeds and changes of those; `tests/fuzz/run` feeds them whatever covers more.

pub use crate::access::fuzz::{proofs, tokens};
pub use crate::ads::fuzz::streams;
pub use crate::ca::fuzz::certificate_requests;

mod definitions;

pub use definitions::definitions;

#[cfg(test)]
mod tests {
    macro_rules! replayed {
        ($($target:ident $changes:expr,)*) => {$(
            #[test]
            fn $target() {
                let seeds = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/", stringify!($target));
                outrigger_fuzz::replay(seeds, $changes, super::$target);
            }
        )*};
    }

    replayed! {
        certificate_requests 1000,
        definitions 300,
        proofs 2000,
        streams 1000,
        tokens 1000,
    }
}
