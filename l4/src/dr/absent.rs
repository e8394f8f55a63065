//! In a binary without the mode: types that have no values, so that callers need not know.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use prometheus::proto::MetricFamily;

use super::DrOptions;
use crate::forward::Service;

/// There is nothing that could go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this binary was built without the mode dr: build it with `--features l4-dr`, which needs clang"
)]
pub struct DrError;

/// There is none.
#[derive(Debug)]
pub enum Dr {}

impl Dr {
    /// Does not start.
    ///
    /// # Errors
    /// Always.
    pub async fn start(_: DrOptions, _: bool) -> Result<Self, DrError> {
        Err(DrError)
    }

    /// Never called.
    pub fn set(&self, _: Vec<Service>) {
        match *self {}
    }

    /// Never called.
    pub async fn applied(&self, _: Duration) -> bool {
        match *self {}
    }

    /// Never called.
    pub async fn leave(&self, _: bool) {
        match *self {}
    }

    /// Never called.
    pub fn metrics(&self) -> Vec<MetricFamily> {
        match *self {}
    }
}

/// Nobody gets a flow.
pub fn endpoint_of(_: &Service, _: SocketAddr) -> Option<usize> {
    None
}

/// Does nothing.
///
/// # Errors
/// Always.
pub fn flush(_: &Path) -> Result<bool, DrError> {
    Err(DrError)
}
