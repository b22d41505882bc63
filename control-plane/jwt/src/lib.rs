//! JSON web tokens, for the sidecar's filter and for who asks for discovery: [`Token`] takes one apart,
//! [`Keys`] checks its signature, and [`Fault`] says what is wrong, in the words that Envoy has for it. Whose tokens are
//! wanted is the business of who asks. Source: RFC 7515, 7517, 7518, 7519, 8037.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod fault;
mod keys;
mod token;

pub use fault::Fault;
pub use keys::Keys;
pub use token::Token;

#[cfg(test)]
mod tests;
