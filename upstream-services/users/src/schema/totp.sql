-- The second factor. secret: sealed with a key that is not in the database. last_step: the newest
-- step whose code was used, so that a code works once.
CREATE TABLE totp (
    user_id BIGINT NOT NULL PRIMARY KEY,
    secret VARBINARY(128) NOT NULL,
    created_at BIGINT NOT NULL,
    confirmed_at BIGINT,
    last_step BIGINT NOT NULL
);

-- hash: SHA-256 of the user and the code. A code that is used is deleted.
CREATE TABLE recovery_codes (
    user_id BIGINT NOT NULL,
    hash BINARY(32) NOT NULL,
    PRIMARY KEY (user_id, hash)
);
