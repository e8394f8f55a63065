//! The tables of the user services, the same on every shard.

use store::{Migration, Schema};

/// The steps that made the tables. Add steps; never edit one.
pub(crate) const SCHEMA: Schema = Schema {
    owner: "users",
    migrations: &[
        Migration {
            version: 1,
            name: "users, sessions, refresh tokens",
            sql: include_str!("schema.sql"),
        },
        Migration {
            version: 2,
            name: "by which client a session is used",
            sql: include_str!("session_clients.sql"),
        },
        Migration {
            version: 3,
            name: "phone numbers",
            sql: include_str!("schema/phone.sql"),
        },
        Migration {
            version: 4,
            name: "second factors",
            sql: include_str!("schema/totp.sql"),
        },
        Migration {
            version: 5,
            name: "recovery tokens",
            sql: include_str!("schema/recovery.sql"),
        },
        Migration {
            version: 6,
            name: "roles, disabled users",
            sql: include_str!("schema/roles.sql"),
        },
        Migration {
            version: 7,
            name: "tokens by session",
            sql: include_str!("schema/erasure.sql"),
        },
    ],
};
