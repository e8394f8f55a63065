/* What the program and the process that fills its maps both know; `src/dr/layout.rs` says the same in Rust.
 *
 * Maps outlive the process. One that was left by a program of another layout is not taken over: the text of this file
 * is part of the name under which they are pinned.
 */

#define SLOTS 65537
#define MAX_SERVICES 256
#define MAX_ENDPOINTS 4096
#define MAX_INTERFACES 64

/* Addresses are 16 bytes in the order of the network, those of IPv4 as ::ffff:a.b.c.d; ports are in it too. */

struct service_key {
	u32 address[4];
	u16 port;
	u8 protocol;
	u8 unused;
};

/* A service's flows are led by its own address, or by the client's alone. */
#define SERVICE_BY_SOURCE 1

struct service {
	u32 table; /* its place in `tables` */
	u32 flags;
};

/* One value, so that one system call fills it: endpoints' numbers, 0 for none. */
struct table {
	u16 slot[SLOTS];
};

#define ENDPOINT_LIVE 1

/* The first 24 bytes are what a packet needs; the rest lets another process know whose number this is. */
struct endpoint {
	u32 generation; /* another one makes all flows of this number void */
	u32 flags;
	u32 ifindex;
	u8 mac[6];        /* the endpoint's */
	u8 source_mac[6]; /* that of our interface in its network */
	u32 address[4];
	struct service_key service;
};

struct flow_key {
	u32 client[4];
	u32 address[4];
	u16 client_port;
	u16 port;
	u8 protocol;
	u8 unused[3];
};

struct flow {
	u32 endpoint;
	u32 generation;
};

struct counters {
	u64 packets;
	u64 bytes;
	u64 flows; /* that were led here, anew or from another endpoint */
};

/* What else is counted. */
enum event {
	EVENT_NO_ENDPOINT, /* a packet for a service that has none */
	EVENT_EXPIRED,     /* its time to live was over */
	EVENT_ICMP,        /* an ICMP error that was led to the endpoint of its flow */
	EVENT_NOT_KEPT,    /* a flow that found no place in `flows` */
	EVENTS,
};

struct interface {
	u8 mac[6];
	u8 unused[2];
};
