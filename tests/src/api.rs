//! The user API as a client sees it.

use std::net::SocketAddr;
use std::path::Path;

use reqwest::{Certificate, Client, ClientBuilder, Method, RequestBuilder};
use serde_json::{Value, json};

use crate::answer::Answer;

/// The password of every user of the tests.
pub const PASSWORD: &str = "correct horse battery";

/// The user API at an address.
#[derive(Clone, Debug)]
pub struct Api {
    /// Scheme, host and port.
    pub base: String,
    client: Client,
}

/// The tokens of a session.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// For the Authorization header.
    pub access: String,
    /// For the next pair.
    pub refresh: String,
}

impl Api {
    /// Over HTTP.
    pub fn plain(address: SocketAddr) -> Self {
        Self::new(format!("http://{address}"), client())
    }

    /// Over HTTPS, trusting this certificate and no other.
    ///
    /// # Panics
    /// When the file is no certificate.
    pub fn trusting(address: SocketAddr, certificate: &Path) -> Self {
        let pem = std::fs::read(certificate).expect("the certificate can be read");
        let certificate = Certificate::from_pem(&pem).expect("it is a certificate");
        let client = client().tls_certs_only([certificate]);
        Self::new(format!("https://{address}"), client)
    }

    /// The API behind a client of the test's own.
    ///
    /// # Panics
    /// When the client cannot be made.
    pub fn new(base: String, client: ClientBuilder) -> Self {
        let client = client.build().expect("the client's settings are sound");
        Self { base, client }
    }

    /// A request for a path, for more headers.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base))
    }

    /// GET with a token.
    pub async fn get(&self, path: &str, token: &str) -> Answer {
        answered(self.request(Method::GET, path).bearer_auth(token)).await
    }

    /// POST of JSON without a token.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        answered(self.request(Method::POST, path).json(body)).await
    }

    /// Makes an account with the usual password.
    pub async fn register(&self, name: &str) -> Answer {
        let email = format!("{name}@example.com");
        let account = json!({ "username": name, "email": email, "password": PASSWORD });
        self.post("/v1/register", &account).await
    }

    /// Tries to log in.
    pub async fn try_login(&self, name: &str, password: &str) -> Answer {
        let login = json!({ "username": name, "password": password });
        self.post("/v1/login", &login).await
    }

    /// Logs in with the usual password.
    pub async fn login(&self, name: &str) -> Tokens {
        Tokens::of(&self.try_login(name, PASSWORD).await.expect(200))
    }

    /// Exchanges a refresh token.
    pub async fn refresh(&self, token: &str) -> Answer {
        self.post("/v1/token/refresh", &json!({ "refresh_token": token }))
            .await
    }
}

impl Tokens {
    /// The tokens in an answer.
    ///
    /// # Panics
    /// When there are none.
    pub fn of(answer: &Answer) -> Self {
        let body = answer.json();
        let text = |key: &str| body[key].as_str().expect("a token is text").to_owned();
        Self {
            access: text("access_token"),
            refresh: text("refresh_token"),
        }
    }
}

/// Settings for a client that nothing of the environment changes.
pub fn client() -> ClientBuilder {
    // Another test of this process may have chosen it before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().no_proxy()
}

/// Sends a request and reads the answer.
///
/// # Panics
/// When there is none.
pub async fn answered(request: RequestBuilder) -> Answer {
    let response = request.send().await.expect("the request is answered");
    Answer::read(response).await.expect("the answer is whole")
}
