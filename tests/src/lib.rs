//! Whole-system tests: the real binary, real servers.
//!
//! ```text
//! tests/tests/*.rs   one file a theme; what a user would notice
//! tests/http1/       conversations with the gateway, valid and hostile, byte by byte
//! tests/broken/      configurations with a mistake, and what `tidegate check` says about each
//! tests/src/         what the tests stand on:
//!   binary, process  the binary, and a running process of it with its logs
//!   gateway, edge    the gateway alone, and the whole edge of `tidegate up`
//!   succession       gateways that take each other's place
//!   name_server      the DNS server, and others with the same zones
//!   l4, named        the balancer before endpoints that remember what reached them, or say who they are
//!   dns_site         the DNS server with every transport
//!   dns_load         queries without a pause, each matched with its answer
//!   question         questions to DNS servers, and their answers to compare
//!   upstream         a server that records what reaches it, and can fail in many ways
//!   nginx            a real nginx as an upstream
//!   pebble           a real certificate authority that speaks ACME
//!   certified        gateways that have certificates from it
//!   h2_raw           HTTP/2 frame by frame, for what no client would send
//!   script           servers and clients in other languages, from `tests/clients`
//!   wire, load       requests byte by byte, and many of them without a pause
//!   http1            conversations to the byte, from the files of tests/http1/
//!   api, admin       the user API and the admin listener as their clients see them
//!   validator        validators of signed zones of other makes
//!   versions         configurations that replace each other at one stroke
//!   tokens           access tokens, sound and forged
//!   authority        certificates of an authority of the test's own
//!   openssl          TLS clients of other makes
//!   lab              network namespaces: a client, a balancer and endpoints
//!   byte_peers       peers in them that hold streams and datagrams to the byte
//!   nat_site         a balancer in one whose listeners the kernel forwards
//!   user_services    several processes of the user services on the same servers
//! ```
//!
//! All ports are free ones, all folders temporary, and nothing waits by
//! sleeping: what is to come about is asked for until a deadline.

pub mod admin;
pub mod answer;
pub mod api;
pub mod authority;
pub mod binary;
pub mod byte_peers;
pub mod certified;
pub mod dns_load;
pub mod dns_site;
pub mod edge;
pub mod eventually;
pub mod gateway;
pub mod h2_raw;
pub mod http1;
pub mod l4;
pub mod lab;
pub mod load;
pub mod name_server;
pub mod named;
pub mod nat_site;
pub mod nginx;
pub mod openssl;
pub mod pebble;
pub mod process;
pub mod question;
pub mod script;
pub mod signed_zones;
pub mod succession;
pub mod tokens;
pub mod transfers;
pub mod upstream;
pub mod user_services;
pub mod validator;
pub mod versions;
pub mod wire;
