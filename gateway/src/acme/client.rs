//! HTTP to an authority: with a limit for every answer, in time and in size.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use http::header::RETRY_AFTER;
use http::{Request, Response};
use http_body_util::BodyExt;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};

/// Speaks HTTPS with an authority.
pub(super) struct Client {
    http: reqwest::Client,
    told: Arc<RetryAfter>,
}

/// Until when an authority that refused a request wants to be left alone.
#[derive(Default)]
pub(super) struct RetryAfter(AtomicU64);

impl Client {
    /// Trusts these authorities, in DER, or the system's when there are none.
    pub(super) fn new(
        root: Option<&[Vec<u8>]>,
        told: Arc<RetryAfter>,
    ) -> Result<Self, reqwest::Error> {
        let mut builder = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .https_only(true)
            .no_proxy();
        if let Some(root) = root {
            let certificates = root.iter().map(|der| reqwest::Certificate::from_der(der));
            builder = builder.tls_certs_only(certificates.collect::<Result<Vec<_>, _>>()?);
        }
        let http = builder.build()?;
        Ok(Self { http, told })
    }
}

impl HttpClient for Client {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let (http, told) = (self.http.clone(), self.told.clone());
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let body = match body.collect().await {
                Ok(body) => body.to_bytes(),
                Err(never) => match never {},
            };
            let request = http
                .request(head.method, head.uri.to_string())
                .headers(head.headers)
                .body(body);
            let response = request.send().await.map_err(failed)?;
            told.note(&response);
            bounded(response).await
        })
    }
}

/// Reads a body that is not too large.
async fn bounded(mut response: reqwest::Response) -> Result<BytesResponse, Error> {
    let mut head = Response::new(());
    *head.status_mut() = response.status();
    *head.headers_mut() = std::mem::take(response.headers_mut());
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        if body.len() + chunk.len() > LARGEST {
            return Err(Error::Str("an answer of less than 1 MiB"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(BytesResponse {
        parts: head.into_parts().0,
        body: Box::new(body.freeze()),
    })
}

fn failed(error: reqwest::Error) -> Error {
    Error::Other(Box::new(error))
}

impl RetryAfter {
    /// How long the authority still wants to be left alone.
    pub(super) fn left(&self, now: SystemTime) -> Option<Duration> {
        let until = SystemTime::UNIX_EPOCH + Duration::from_secs(self.0.load(Ordering::Relaxed));
        until
            .duration_since(now)
            .ok()
            .filter(|left| !left.is_zero())
    }

    /// Successful answers carry the header too, where it only says when to poll again.
    fn note(&self, response: &reqwest::Response) {
        let status = response.status();
        if !status.is_client_error() && !status.is_server_error() {
            return;
        }
        let header = response.headers().get(RETRY_AFTER);
        let text = header.and_then(|value| value.to_str().ok());
        if let Some(until) = text.and_then(|text| moment(text, SystemTime::now())) {
            self.0.store(until, Ordering::Relaxed);
        }
    }
}

/// The time that a `Retry-After` means, in seconds since 1970 (RFC 9110, section 10.2.3).
fn moment(text: &str, now: SystemTime) -> Option<u64> {
    let since = now.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs();
    if let Ok(seconds) = text.trim().parse::<u32>() {
        return Some(since + u64::from(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(text.trim()).ok()?;
    u64::try_from(date.timestamp().as_second()).ok()
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const TIMEOUT: Duration = Duration::from_secs(30);
const LARGEST: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_retry_after_are_understood() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        assert_eq!(moment("120", now), Some(1_120));
        assert_eq!(moment("Thu, 01 Jan 1970 01:00:00 GMT", now), Some(3_600));
        for text in ["", "soon", "-1", "1.5"] {
            assert_eq!(moment(text, now), None, "{text}");
        }
    }

    #[test]
    fn it_is_over_when_it_is_over() {
        let told = RetryAfter::default();
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!(told.left(at(1_000)), None);
        told.0.store(1_060, Ordering::Relaxed);
        assert_eq!(told.left(at(1_000)), Some(Duration::from_secs(60)));
        assert_eq!(told.left(at(1_060)), None);
    }
}
