//! Whole-system tests: the real binary, real servers.
