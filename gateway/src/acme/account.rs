//! Our account with an authority: made once, then kept in storage.

use base64::Engine;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use instant_acme::{Account, AccountBuilder, AccountCredentials, ExternalAccountKey, NewAccount};

use super::authority::{Authority, ExternalAccount, Settings, short_hash};
use super::client::Client;
use super::error::OrderError;

/// Where the credentials are in storage.
pub(super) fn entry(settings: &Settings) -> String {
    let external = settings.external_account.as_ref();
    let key_id = external.map_or("", |account| account.key_id.as_str());
    let hash = short_hash(&[&settings.directory, key_id]);
    format!("accounts/{hash}.json")
}

/// The account of these settings, which is made if there is none.
pub(super) async fn open(authority: &Authority) -> Result<Account, OrderError> {
    let settings = &authority.settings;
    let entry = entry(settings);
    let storage = |error| OrderError::Storage {
        path: authority.storage.path(&entry),
        error,
    };
    // Two processes must not make one each.
    let _lock = authority.lock("account").await?;
    if let Some(stored) = authority.storage.read(&entry).map_err(storage)? {
        match serde_json::from_slice::<AccountCredentials>(&stored) {
            Ok(credentials) => {
                let account = builder(authority)?.from_credentials(credentials).await?;
                return Ok(account);
            }
            Err(error) => {
                let path = authority.storage.path(&entry);
                tracing::warn!(path = %path.display(), %error, "not an account: a new one is made");
            }
        }
    }
    let contact: Vec<&str> = settings.contact.iter().map(String::as_str).collect();
    let wanted = NewAccount {
        contact: &contact,
        terms_of_service_agreed: true,
        only_return_existing: false,
    };
    let external = settings.external_account.as_ref().map(external_key);
    let (account, credentials) = builder(authority)?
        .create(
            &wanted,
            settings.directory.clone(),
            external.transpose()?.as_ref(),
        )
        .await?;
    let bytes = serde_json::to_vec(&credentials).map_err(|error| storage(error.into()))?;
    authority.storage.write(&entry, &bytes).map_err(storage)?;
    tracing::info!(
        issuer = authority.name,
        account = account.id(),
        "a new ACME account"
    );
    Ok(account)
}

fn builder(authority: &Authority) -> Result<AccountBuilder, OrderError> {
    let client = Client::new(authority.settings.root.as_deref(), authority.told.clone());
    let client = client.map_err(|error| OrderError::Unreachable(error.to_string()))?;
    Ok(Account::builder_with_http(Box::new(client)))
}

fn external_key(account: &ExternalAccount) -> Result<ExternalAccountKey, OrderError> {
    let key = decode_key(account.hmac_key.expose());
    // It was judged with the configuration.
    let key = key.ok_or_else(|| OrderError::Unusable("the key is not base64url".into()))?;
    Ok(ExternalAccountKey::new(account.key_id.clone(), &key))
}

/// The bytes of a key in base64url, padded or not.
pub(crate) fn decode_key(text: &str) -> Option<Vec<u8>> {
    let lenient =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let engine = GeneralPurpose::new(&base64::alphabet::URL_SAFE, lenient);
    engine
        .decode(text.trim())
        .ok()
        .filter(|key| !key.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_base64url_with_and_without_padding() {
        assert_eq!(decode_key("_-8"), Some(vec![0xff, 0xef]));
        assert_eq!(decode_key("_-8=\n"), Some(vec![0xff, 0xef]));
        for text in ["", "/+8=", "no key!"] {
            assert_eq!(decode_key(text), None, "{text}");
        }
    }
}
