//! What the issuers count.

use std::sync::LazyLock;

use prometheus::core::Collector;
use prometheus::{IntCounterVec, Opts};

static ORDERS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let options = Opts::new(
        "tidegate_gateway_acme_orders_total",
        "Attempts to get a certificate",
    );
    IntCounterVec::new(options, &["issuer", "outcome"]).expect("the name and labels are valid")
});

pub(crate) fn metrics() -> Vec<Box<dyn Collector>> {
    vec![Box::new(ORDERS.clone())]
}

/// Counts an attempt that has ended.
pub(super) fn count(issuer: &str, outcome: &str) {
    ORDERS.with_label_values(&[issuer, outcome]).inc();
}
