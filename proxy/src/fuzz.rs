//! Functions that take arbitrary bytes and panic where something does not hold, each beside what it is about. The tests
//! feed them their seeds and changes of those; `tests/fuzz/run` feeds them whatever covers more.

pub use crate::config::secret::fuzz::certificates;
pub use crate::http::codec::h1::tests::fuzz::{h1_requests, h1_responses};
pub use crate::net::peek::fuzz::peek;
pub use crate::observe::format::fuzz::log_formats;
pub use crate::observe::trace::header::fuzz::trace_headers;
pub use crate::xds::engine::fuzz::discovery;
pub use crate::xds::translate::fuzz::resources;

mod expressions;

pub use expressions::expressions;

#[cfg(test)]
mod tests {
    /// Changes per target; those of `discovery` and `resources` take longer.
    const CHANGES: usize = 2000;

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
        certificates CHANGES,
        discovery 100,
        expressions CHANGES,
        h1_requests 500,
        h1_responses 500,
        log_formats CHANGES,
        peek CHANGES,
        resources 500,
        trace_headers CHANGES,
    }
}
