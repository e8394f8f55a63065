//! One order, from the first request to the certificate (RFC 8555, section 7.1).

use std::time::Duration;

use instant_acme::{
    Account, AuthorizationHandle, AuthorizationStatus, CertificateIdentifier, ChallengeType,
    Identifier, NewOrder, Order, OrderStatus, Problem, RetryPolicy,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};

use super::authority::Authority;
use super::challenge::DIGEST;
use super::error::OrderError;
use super::names::Names;
use super::pending::{HTTP, Offered, TLS_ALPN};
use crate::config::Challenge;

/// Gets a certificate for these names: its key and its chain, in PEM.
pub(super) async fn obtain(
    authority: &Authority,
    names: &Names,
    replaces: Option<CertificateIdentifier<'_>>,
) -> Result<String, OrderError> {
    let whole = async {
        let account = authority.account().await?;
        let mut order = place(&account, names, replaces).await?;
        prove(authority, &mut order).await?;
        finish(&mut order, names).await
    };
    let outcome = tokio::time::timeout(LONGEST, whole).await;
    outcome.unwrap_or(Err(OrderError::TooSlow(LONGEST)))
}

async fn place(
    account: &Account,
    names: &Names,
    replaces: Option<CertificateIdentifier<'_>>,
) -> Result<Order, OrderError> {
    let identifiers: Vec<_> = names
        .iter()
        .map(|name| Identifier::Dns(name.to_owned()))
        .collect();
    let mut wanted = NewOrder::new(&identifiers);
    if let Some(replaced) = replaces {
        wanted = wanted.replaces(replaced);
    }
    Ok(account.new_order(&wanted).await?)
}

/// Shows that every name is ours. What was offered for that is withdrawn at the end.
async fn prove(authority: &Authority, order: &mut Order) -> Result<(), OrderError> {
    for folder in [HTTP, TLS_ALPN] {
        authority.storage.sweep(folder, LEFT_BEHIND);
    }
    let mut offered = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let authorization = authorization?;
        if authorization.status == AuthorizationStatus::Pending {
            offered.push(offer(authority, authorization).await?);
        }
    }
    let outcome = order.poll_ready(&POLL).await;
    if let Ok(OrderStatus::Ready | OrderStatus::Valid) = outcome {
        return Ok(());
    }
    // The order says that it failed; its authorizations say why.
    match refusal(order).await {
        Some(invalid) => Err(invalid),
        None => match outcome {
            Ok(status) => Err(OrderError::Unusable(format!("the order is {status:?}"))),
            Err(error) => Err(error.into()),
        },
    }
}

/// Puts the answer to a challenge where the authority will look, and then tells it to.
async fn offer(
    authority: &Authority,
    mut authorization: AuthorizationHandle<'_>,
) -> Result<Offered, OrderError> {
    let wanted = authority.challenge();
    let kind = match wanted {
        Challenge::Http01 => ChallengeType::Http01,
        Challenge::TlsAlpn01 => ChallengeType::TlsAlpn01,
    };
    let name = authorization.identifier().to_string();
    let challenge = authorization.challenge(kind);
    let mut challenge = challenge.ok_or_else(|| OrderError::NoChallenge(name.clone(), wanted))?;
    let answer = challenge.key_authorization();
    let pending = &authority.pending;
    let offered = match wanted {
        Challenge::Http01 => pending.offer_answer(&challenge.token, answer.as_str())?,
        Challenge::TlsAlpn01 => {
            let digest: [u8; DIGEST] = answer
                .digest()
                .as_ref()
                .try_into()
                .map_err(|_| OrderError::Unusable("the digest is no SHA-256".into()))?;
            pending.offer_certificate(&name, &digest)?
        }
    };
    challenge.set_ready().await?;
    Ok(offered)
}

/// What the authority found wrong when it looked.
async fn refusal(order: &mut Order) -> Option<OrderError> {
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        let what = authorization.identifier().to_string();
        let state = authorization.refresh().await.ok()?;
        let problem: Option<Problem> = state.challenges.iter().find_map(|one| one.error.clone());
        if let Some(problem) = problem {
            return Some(OrderError::Invalid { what, problem });
        }
    }
    None
}

/// Asks for the certificate with a key of its own: no two certificates share one.
async fn finish(order: &mut Order, names: &Names) -> Result<String, OrderError> {
    let request = || {
        let names: Vec<_> = names.iter().map(str::to_owned).collect();
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name = DistinguishedName::new();
        let key = KeyPair::generate()?;
        params.serialize_request(&key).map(|request| (key, request))
    };
    let (key, request) = request().map_err(|error| OrderError::Unusable(error.to_string()))?;
    order.finalize_csr(request.der()).await?;
    let chain = order.poll_certificate(&POLL).await?;
    Ok(key.serialize_pem() + &chain)
}

/// How often the authority is asked how far it is.
const POLL: RetryPolicy = RetryPolicy::new()
    .initial_delay(Duration::from_millis(250))
    .backoff(1.5)
    .timeout(Duration::from_secs(120));
/// For everything together.
const LONGEST: Duration = Duration::from_secs(600);
/// Challenges in storage that are older belong to nobody.
const LEFT_BEHIND: Duration = Duration::from_secs(24 * 3600);
