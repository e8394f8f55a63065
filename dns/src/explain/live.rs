//! What the running server knows of endpoints, asked at its admin listener.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{Request, header};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde::de::DeserializeOwned;

use crate::alias::TargetReport;
use crate::config::Config;
use crate::health::PolicyReport;

/// How long the server may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// Ten thousand endpoints.
const LARGEST: usize = 8 << 20;

/// What is known, and from where.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) from: String,
    /// None when nobody has answered.
    pub(super) known: Option<Reports>,
}

/// What the process knows.
#[derive(Debug)]
pub(super) struct Reports {
    pub(super) policies: Vec<PolicyReport>,
    pub(super) aliases: Vec<TargetReport>,
}

/// Asks at this URL, or where the configuration says.
///
/// # Errors
/// When nobody answers at a URL that was given.
pub(super) fn ask(admin: Option<&str>, config: &Config) -> Result<Live, String> {
    let from = match admin {
        Some(url) => url.trim_end_matches('/').to_owned(),
        None => format!("http://{}", *config.admin.address),
    };
    let token = config.admin.token.as_ref().map(|token| token.expose());
    match (fetch(&from, token), admin) {
        (Err(error), Some(_)) => Err(format!("{from}: {error}")),
        (known, _) => Ok(Live {
            from,
            known: known.ok(),
        }),
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn fetch(url: &str, token: Option<&str>) -> Result<Reports, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let asked = async {
        Ok(Reports {
            policies: fetch_one(format!("{url}/policies"), token).await?,
            aliases: fetch_one(format!("{url}/aliases"), token).await?,
        })
    };
    runtime.block_on(async { tokio::time::timeout(PATIENCE, asked).await })?
}

async fn fetch_one<T: DeserializeOwned>(url: String, token: Option<&str>) -> Result<T, Failure> {
    let mut request = Request::get(url);
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    let client = Client::builder(TokioExecutor::new()).build_http();
    let answer = client.request(request.body(Body::empty())?).await?;
    let status = answer.status();
    if !status.is_success() {
        return Err(format!("answered {status}").into());
    }
    let body = to_bytes(Body::new(answer.into_body()), LARGEST).await?;
    Ok(serde_json::from_slice(&body)?)
}
