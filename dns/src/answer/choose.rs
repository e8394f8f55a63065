//! What answers know of policies: which answers there may be, and which of them a client gets.

use std::fmt;
use std::net::IpAddr;

/// The number of a policy, given by its [`Choose`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PolicyId(pub u32);

/// Whom an answer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// The first address of its network, or its own.
    pub address: IpAddr,
    /// How many bits of it are known.
    pub prefix: u8,
    /// Whether a resolver has told it (EDNS Client Subnet); else it is the resolver's own address.
    pub told: bool,
}

/// Which answer a client gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Which of the policy's variants; none when it has no answer: SERVFAIL.
    pub variant: Option<u32>,
    /// For how many bits of the client's address it holds (RFC 7871, 7.2.1); 0 for all clients.
    pub scope: u8,
    /// The number of the site that it leads to, for logs.
    pub site: Option<u16>,
}

/// Chooses among the records of sets that name a policy.
///
/// Variants are compiled once for a snapshot. What changes in between (health, weights) only
/// changes which of them is chosen.
pub trait Choose: Send + Sync + fmt::Debug {
    /// The policy of this name.
    fn policy(&self, name: &str) -> Option<PolicyId>;

    /// The names of all policies, for suggestions.
    fn names(&self) -> Vec<String>;

    /// Every set of records of this type that the policy may choose, each record's data in wire form. An
    /// empty set is an answer without records.
    fn variants(&self, policy: PolicyId, rtype: u16) -> Vec<Vec<Vec<u8>>>;

    /// Chooses for a client. Called for each query: it must not allocate, lock or block.
    fn choose(&self, policy: PolicyId, rtype: u16, client: Client) -> Choice;
}

/// Knows no policy.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoPolicies;

impl Choose for NoPolicies {
    fn policy(&self, _: &str) -> Option<PolicyId> {
        None
    }

    fn names(&self) -> Vec<String> {
        Vec::new()
    }

    fn variants(&self, _: PolicyId, _: u16) -> Vec<Vec<Vec<u8>>> {
        Vec::new()
    }

    fn choose(&self, _: PolicyId, _: u16, _: Client) -> Choice {
        Choice {
            variant: None,
            scope: 0,
            site: None,
        }
    }
}
