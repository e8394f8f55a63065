//! What a gateway is there for: routes, tokens, limits, logs and metrics at once.
//!
//! `nginx` does all but the tokens, `nginx-njs` verifies each in JavaScript (`auth_request`,
//! WebCrypto). Tidegate remembers tokens that it has verified; the case with "each verified" has no
//! use of that. Bare Pingora does nothing of it: beside it, the policies' own cost is seen. HAProxy 2.6
//! and Caddy have no such policy without more modules, and sit out.

use super::{Case, Suite, compare};
use crate::error::Error;
use crate::load::{Closed, Requests};
use crate::peer::{Log, Setup};
use crate::policy::{Algorithm, Policy};
use crate::stage::Context;

pub(super) const SUITE: Suite = Suite {
    name: "policy",
    shows: "1,000 routes, JWT, a rate limit, JSON log and metrics (nginx: without JWT; pingora: nothing of it)",
    run: |context| {
        let cases = [
            case(context, "ES256", Algorithm::Es256, true)?,
            case(context, "ES256, each verified", Algorithm::Es256, false)?,
            case(context, "EdDSA", Algorithm::EdDsa, true)?,
        ];
        Ok(compare(context, SUITE.name, &cases))
    },
};

const ROUTES: usize = 1_000;

/// Tokens that take turns.
const TOKENS: u32 = 64;

fn case(
    context: &Context,
    name: &str,
    algorithm: Algorithm,
    remember: bool,
) -> Result<Case, Error> {
    let policy = Policy::new(algorithm, remember)?;
    let requests = (0..TOKENS).map(|user| Ok(request(user, &policy.token(user)?)));
    let requests = requests.collect::<Result<Vec<_>, Error>>()?;
    let load = Closed::new(context.options.connections, Requests::join(requests));
    let forged = Policy::new(algorithm, remember)?.token(0)?; // of another key
    let setup = Setup {
        log: Log::Json,
        routes: ROUTES,
        policy: Some(policy),
        ..Setup::default()
    };
    Ok(Case {
        forged: Some(request(0, &forged)),
        ..Case::new(name, setup, load)
    })
}

fn request(user: u32, token: &str) -> Requests {
    let route = user as usize * ROUTES / TOKENS as usize;
    let headers = format!("Authorization: Bearer {token}\r\n");
    Requests::get([format!("/route-{route}/item")], &headers)
}
