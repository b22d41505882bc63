//! A listener's own access log: one line for each connection, also for those that no filter has ever seen.

mod refused;
mod scene;
mod served;
mod told;
