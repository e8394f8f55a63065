//! argon2id, with memory that is kept from one hash to the next.

use argon2::password_hash::phc::{Output, ParamsString, PasswordHash, Salt};
use argon2::{Algorithm, Argon2, Block, Params, Version};

use super::Verified;
use crate::Error;
use crate::config::HashConfig;
use crate::fields::Password;

/// How new hashes are made.
#[derive(Clone, Debug)]
pub(super) struct Argon {
    params: Params,
}

/// The memory of one thread: taking 19 MiB from the system for every hash costs page faults.
#[derive(Default)]
pub(super) struct Workspace(Vec<Block>);

impl Argon {
    pub(super) fn new(config: &HashConfig) -> Result<Self, Error> {
        let kib = u32::try_from(config.memory.bytes() / 1024).unwrap_or(u32::MAX);
        let params = Params::new(kib, config.iterations, 1, Some(Params::DEFAULT_OUTPUT_LEN));
        let params = params.map_err(|_| Error::Config {
            key: "hash.memory",
            why: "must be at least 8KiB (and hash.iterations at least 1)",
        })?;
        Ok(Self { params })
    }

    pub(super) fn hash(
        &self,
        password: &Password,
        workspace: &mut Workspace,
    ) -> Result<String, Error> {
        let salt = Salt::generate();
        let output = compute(&self.params, password, &salt, workspace)?;
        let hash = PasswordHash {
            algorithm: Algorithm::Argon2id.ident(),
            version: Some(Version::V0x13.into()),
            params: ParamsString::try_from(&self.params).map_err(internal)?,
            salt: Some(salt),
            hash: Some(output),
        };
        Ok(hash.to_string())
    }

    pub(super) fn verify(
        &self,
        password: &Password,
        hash: &str,
        workspace: &mut Workspace,
    ) -> Result<Verified, Error> {
        let stored = PasswordHash::new(hash).map_err(internal)?;
        let (Some(salt), Some(expected)) = (stored.salt, stored.hash) else {
            return Err(internal("a stored hash without salt or output"));
        };
        if stored.algorithm != Algorithm::Argon2id.ident() {
            return Err(internal("a stored hash that is not argon2id"));
        }
        let params = Params::try_from(&stored).map_err(internal)?;
        let output = compute(&params, password, &salt, workspace)?;
        let same = |cost: fn(&Params) -> u32| cost(&params) == cost(&self.params);
        Ok(Verified {
            // `Output` compares in constant time.
            matches: output == expected,
            outdated: !(same(Params::m_cost) && same(Params::t_cost) && same(Params::p_cost)),
        })
    }
}

fn compute(
    params: &Params,
    password: &Password,
    salt: &Salt,
    Workspace(blocks): &mut Workspace,
) -> Result<Output, Error> {
    blocks.resize(params.block_count(), Block::default());
    let length = params.output_len().unwrap_or(Params::DEFAULT_OUTPUT_LEN);
    let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone());
    let mut output = [0; Output::MAX_LENGTH];
    let output = output
        .get_mut(..length)
        .ok_or_else(|| internal("an output too long"))?;
    argon
        .hash_password_into_with_memory(password.as_bytes(), salt, output, blocks.as_mut_slice())
        .map_err(internal)?;
    Output::new(output).map_err(internal)
}

fn internal(error: impl std::fmt::Display) -> Error {
    Error::Internal(format!("argon2: {error}"))
}
