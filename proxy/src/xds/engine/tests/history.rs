//! Random histories.

use proptest::prelude::*;

use crate::xds::engine::fuzz::{Step, ends_as_a_fresh_start};

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..4u8, prop::option::weighted(0.8, 1..4u8)).prop_map(|(name, version)| Step::Cluster(name, version)),
        4 => (0..4u8, prop::collection::vec(1..5u8, 0..4)).prop_map(|(name, hosts)| Step::Endpoints(name, hosts)),
        3 => (0..3u8, prop::option::weighted(0.8, (0..4u8, 0..3u8))).prop_map(|(name, to)| Step::Listener(name, to)),
        3 => (0..3u8, 0..4u8).prop_map(|(name, cluster)| Step::Routes(name, cluster)),
        1 => (0..4u8).prop_map(Step::Bad),
        6 => (0..5u8).prop_map(Step::Tell),
        2 => Just(Step::Reconnect),
        1 => Just(Step::Disconnect),
        1 => (0..20_000u16).prop_map(Step::Pass),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    /// Whatever happened on the way, both variants end where a proxy that starts now would be.
    #[test]
    fn every_history_ends_in_the_same_snapshot(history in prop::collection::vec(step(), 0..40)) {
        ends_as_a_fresh_start(&history);
    }
}
