//! Limits that stand for themselves: each is possible or not, whatever else is configured.

use chassis::config::{Diagnostic, Located};
use chassis::units::Period;

use crate::config::Config;

/// The least that is taken from the kernel for datagrams that wait: one of the longest, with what it costs there.
const LEAST_BUFFER: u64 = 4096;

/// Finds limits with which nothing could work.
pub(super) fn judge(config: &Config, mistakes: &mut Vec<Diagnostic>) {
    mistakes.extend(config.admin.validate().err());
    mistakes.extend(config.log.validate().err());
    if config.listener.is_empty() {
        let what = "there is no listener: nobody could ask this server";
        let help = "add `listener = [{ name = \"dns\", address = \"0.0.0.0:53\" }]`";
        let nothing = config.admin.address.wrong(what).help(help);
        mistakes.push(nothing.label("the only address"));
    }
    if !(512..=4096).contains(&*config.udp.largest) {
        let what = "an answer over UDP has from 512 to 4096 octets";
        mistakes.push(config.udp.largest.wrong(what));
    }
    if config.udp.receive_buffer.bytes() < LEAST_BUFFER {
        mistakes.push(config.udp.receive_buffer.wrong("must be 4KiB at least"));
    }
    if let Some(threads) = config
        .threads
        .as_ref()
        .filter(|threads| !(1..=1024).contains(&***threads))
    {
        mistakes.push(threads.wrong("from 1 to 1024 threads"));
    }
    let (tcp, transfers) = (&config.tcp, &config.transfers);
    for limit in [
        &tcp.connections,
        &tcp.connections_per_client,
        &tcp.queries,
        &transfers.concurrent,
        &transfers.concurrent_per_client,
        &transfers.records,
    ] {
        if **limit == 0 {
            mistakes.push(limit.wrong("must be 1 at least"));
        }
    }
    for period in [&tcp.idle, &tcp.progress, &transfers.within] {
        some_time(period, mistakes);
    }
    let tls = config.listener.iter().filter_map(|one| one.tls.as_ref());
    for tls in tls {
        some_time(&tls.handshake, mistakes);
    }
    if transfers.size.bytes() < 1024 {
        mistakes.push(transfers.size.wrong("must be 1KiB at least"));
    }
    if let Some(rate) = transfers.rate.as_ref().filter(|rate| rate.bytes() < 1024) {
        mistakes.push(rate.wrong("must be 1KiB at least"));
    }
}

fn some_time(period: &Located<Period>, mistakes: &mut Vec<Diagnostic>) {
    if period.is_zero() {
        mistakes.push(period.wrong("must be more than nothing"));
    }
}
