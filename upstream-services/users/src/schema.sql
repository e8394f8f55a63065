CREATE TABLE users (
    id BIGINT NOT NULL PRIMARY KEY,
    username VARCHAR(32) NOT NULL,
    email VARCHAR(320) NOT NULL,
    display_name VARCHAR(256),
    password_hash VARCHAR(256) NOT NULL,
    -- Grows when the password changes, not when it is only hashed anew.
    password_version BIGINT NOT NULL DEFAULT 1,
    version BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

-- In the bucket of the user.
CREATE TABLE sessions (
    id BIGINT NOT NULL PRIMARY KEY,
    user_id BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    revoked_at BIGINT
);
CREATE INDEX sessions_user ON sessions (user_id);
CREATE INDEX sessions_expiry ON sessions (expires_at);

-- hash: SHA-256 of the token. Used tokens stay until they expire, to notice their reuse.
CREATE TABLE refresh_tokens (
    hash BINARY(32) NOT NULL PRIMARY KEY,
    session_id BIGINT NOT NULL,
    issued_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    used_at BIGINT
);
CREATE INDEX refresh_tokens_expiry ON refresh_tokens (expires_at);
