//! What the running server knows of endpoints, asked at its admin listener.

use chassis::life::AdminClient;

use crate::alias::TargetReport;
use crate::config::Config;
use crate::health::PolicyReport;

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
    let client = AdminClient::new(admin, &config.admin);
    let known = client.ask(async |client| {
        Ok(Reports {
            policies: client.get("/policies").await?,
            aliases: client.get("/aliases").await?,
        })
    });
    Ok(Live {
        from: client.url().to_owned(),
        known: known?,
    })
}
