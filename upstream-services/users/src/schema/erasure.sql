-- So that the tokens of one user's sessions are found without a look at all of them.
CREATE INDEX refresh_tokens_session ON refresh_tokens (session_id);
