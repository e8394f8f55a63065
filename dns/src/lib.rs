//! Authoritative DNS that knows where clients are and which sites are well.

pub mod chooser;
pub mod geo;
pub mod health;
pub mod policy;
