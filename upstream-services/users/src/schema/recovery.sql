-- One live token a user. hash: SHA-256 of the token.
CREATE TABLE recoveries (
    user_id BIGINT NOT NULL PRIMARY KEY,
    hash BINARY(32) NOT NULL,
    requested_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX recoveries_expiry ON recoveries (expires_at);
