//! The first administrator.

use chassis::config::Secret;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::fields::{Email, Password, Username};

/// The first administrator: made at a start that finds none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BootstrapConfig {
    /// The user name.
    pub username: String,
    /// The e-mail address.
    pub email: String,
    /// The password: `"${VARIABLE}"` or `"${file:PATH}"`. It is used once; change it after the first login.
    #[serde(skip_serializing)]
    pub password: Secret,
}

impl BootstrapConfig {
    /// What serde cannot say: values that do not work.
    pub(super) fn check(&self) -> Result<(), Error> {
        let wrong = |key, why| Err(Error::Config { key, why });
        if Username::parse(&self.username).is_err() {
            return wrong(
                "bootstrap.username",
                "must be 3 to 32 of a-z, 0-9, '_', '.' and '-'",
            );
        }
        if Email::parse(&self.email).is_err() {
            return wrong("bootstrap.email", "must be an e-mail address");
        }
        if Password::parse(self.password.expose().to_owned()).is_err() {
            return wrong("bootstrap.password", "must have 8 to 128 characters");
        }
        Ok(())
    }
}
