//! What zones are read as, and what is wrong with them.
