//! One decision with the reason for each step, for `tidegate dns explain`.

use std::net::IpAddr;

use ipnet::IpNet;

use super::compile::{Policy, PoolKind};
use super::group::{Family, Group, Question, View};
use super::rendezvous::Key;
use super::tables::{Choices, Outcome, Spill};
use crate::geo::{SiteId, Sites};

/// What a client is answered, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// What kind of answer.
    pub outcome: Outcome,
    /// The addresses, the client's own choice first.
    pub addresses: Vec<IpAddr>,
    /// Whose capacity and where, when they are endpoints.
    pub of: Option<(PoolKind, SiteId)>,
    /// The steps that led there.
    pub steps: Vec<String>,
}

/// Decides what a client of a site is answered.
pub fn decide(
    policy: &Policy,
    sites: &Sites,
    site: SiteId,
    family: Family,
    client: IpAddr,
    view: &View,
) -> Choice {
    let mut steps = Vec::new();
    let client = client.to_canonical();
    let bits = policy.sticky[usize::from(client.is_ipv6())];
    let prefix = IpNet::new(client, bits).map_or_else(|_| IpNet::from(client), |net| net.trunc());
    let name = &sites.site(site).name;
    steps.push(format!(
        "policy {}: clients in {prefix} are answered the same; their site is {name}",
        policy.name
    ));
    let key = Key::of_prefix(client, policy.sticky);
    let spill = Spill::new(policy, view);
    let first = spill.first(key);
    steps.push(told_spill(policy, view, spill, key, first));
    let question = Question {
        policy,
        sites,
        view,
        site,
        family,
        first,
    };
    let group = question.group(&mut |step| steps.push(step.to_string()));
    if let Group::Among { members, .. } = &group
        && members.len() > 1
    {
        steps.push(told_shares(policy, members));
    }
    let choices = Choices::new(policy, family, group);
    let picked = choices.pick(Some(key), policy.answers, bits);
    let addresses: Vec<IpAddr> = picked.addresses().collect();
    let listed: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
    steps.push(match picked.outcome() {
        Outcome::Answer => format!("answer: {}", listed.join(", ")),
        Outcome::LastResort => format!("answer, as the last resort: {}", listed.join(", ")),
        Outcome::Fail => "answer: SERVFAIL".into(),
        Outcome::Nothing => "answer: empty".into(),
    });
    Choice {
        outcome: picked.outcome(),
        of: picked.of(),
        addresses,
        steps,
    }
}

fn told_spill(policy: &Policy, view: &View, spill: Spill, key: Key, first: PoolKind) -> String {
    let share = view.spill.unwrap_or(policy.spill) * 100.0;
    let set = match view.spill {
        Some(_) => " (set by the admin API)",
        None => "",
    };
    match spill {
        Spill::Pool(_) if policy.private.is_none() || policy.public.is_none() => {
            format!("the {first} pool is the only one")
        }
        Spill::Pool(_) => format!("spill {share:.1}%{set}: the {first} pool first"),
        Spill::Below(_) => {
            #[expect(clippy::cast_precision_loss, reason = "it is told with a digit")]
            let stands = key.spill() as f64 / 2f64.powi(64) * 100.0;
            format!(
                "spill {share:.1}%{set}: this prefix stands at {stands:.1}%, the {first} pool first"
            )
        }
    }
}

fn told_shares(policy: &Policy, members: &[(usize, u32)]) -> String {
    let total: f64 = members.iter().map(|(_, weight)| f64::from(*weight)).sum();
    let share = |(at, weight): &(usize, u32)| {
        let percent = f64::from(*weight) / total * 100.0;
        format!("{} {percent:.1}%", policy.endpoints[*at].address)
    };
    let shares: Vec<String> = members.iter().map(share).collect();
    format!("a lot for each by weight: {}", shares.join(", "))
}
