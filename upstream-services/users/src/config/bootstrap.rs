//! The first administrator.

use chassis::config::Secret;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Mistakes;
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
    pub(super) fn mistakes(&self) -> Mistakes {
        let password = Password::parse(self.password.expose().to_owned());
        Mistakes::default()
            .unless(
                Username::parse(&self.username).is_ok(),
                "bootstrap.username",
                "must be 3 to 32 of a-z, 0-9, '_', '.' and '-'",
            )
            .unless(
                Email::parse(&self.email).is_ok(),
                "bootstrap.email",
                "must be an e-mail address",
            )
            .unless(
                password.is_ok(),
                "bootstrap.password",
                "must have 8 to 128 characters",
            )
    }
}
