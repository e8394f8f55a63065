/* Direct return: the frame of a packet for a service gets the MAC address of an endpoint, which answers the client
 * by itself. Nothing of the packet changes but its time to live.
 *
 *   frame to our MAC --> service? --> known flow, endpoint as it was? --> endpoint --> rewrite, send
 *                          |no            |no
 *                       kernel         table of the service
 *
 * What is not for a service, or is not understood, is left to the kernel: every doubt ends in XDP_PASS.
 */

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#include "layout.h"

/* Parts of linux/bpf.h and of linux/if_ether.h and so on, so that building needs clang alone. */

struct xdp_md {
	u32 data;
	u32 data_end;
	u32 data_meta;
	u32 ingress_ifindex;
	u32 rx_queue_index;
	u32 egress_ifindex;
};

enum { XDP_ABORTED, XDP_DROP, XDP_PASS, XDP_TX, XDP_REDIRECT };
enum { MAP_HASH = 1, MAP_ARRAY = 2, MAP_PERCPU_ARRAY = 6, MAP_LRU_HASH = 9, MAP_ARRAY_OF_MAPS = 12 };
enum { BPF_ANY, BPF_NOEXIST, BPF_EXIST };

static void *(*map_lookup)(void *map, const void *key) = (void *)1;
static long (*map_update)(void *map, const void *key, const void *value, u64 flags) = (void *)2;
static long (*redirect)(u32 ifindex, u64 flags) = (void *)23;

#define SEC(name) __attribute__((section(name), used))
#define INLINE static inline __attribute__((always_inline))
#define UINT(name, value) int(*name)[value]
#define TYPE(name, value) typeof(value) *name
/* As libbpf has it: the map is opened where it is pinned, or pinned there. */
#define PINNED UINT(pinning, 1)
#define NET16(value) __builtin_bswap16(value)
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "constants of the network's byte order are for machines that have it the other way round"
#endif

#define ETH_P_IP NET16(0x0800)
#define ETH_P_IPV6 NET16(0x86DD)
#define ETH_P_8021Q NET16(0x8100)
#define ETH_P_8021AD NET16(0x88A8)
/* The third word of ::ffff:a.b.c.d. */
#define MAPPED 0xFFFF0000u
enum { ICMP = 1, TCP = 6, UDP = 17, ICMPV6 = 58 };

struct ethernet {
	u8 destination[6];
	u8 source[6];
	u16 protocol;
} __attribute__((packed));

struct vlan {
	u16 tag;
	u16 protocol;
};

struct ipv4 {
	u8 version_length;
	u8 service;
	u16 length;
	u16 id;
	u16 fragment;
	u8 ttl;
	u8 protocol;
	u16 checksum;
	u32 source;
	u32 destination;
};

struct ipv6 {
	u32 version;
	u16 length;
	u8 next_header;
	u8 hop_limit;
	u32 source[4];
	u32 destination[4];
};

struct ports {
	u16 source;
	u16 destination;
};

struct tcp {
	struct ports ports;
	u32 sequence;
	u32 acknowledged;
	u8 offset;
	u8 flags;
	u16 window;
	u16 checksum;
	u16 urgent;
};

struct icmp {
	u8 type;
	u8 code;
	u16 checksum;
	u32 more;
};

#define TCP_SYN 0x02
#define TCP_ACK 0x10
#define NOT_FIRST_FRAGMENT NET16(0x1FFF)
#define ANY_FRAGMENT NET16(0x3FFF)

struct {
	UINT(type, MAP_HASH);
	UINT(max_entries, MAX_SERVICES);
	TYPE(key, struct service_key);
	TYPE(value, struct service);
	PINNED;
} services SEC(".maps");

struct {
	UINT(type, MAP_ARRAY_OF_MAPS);
	UINT(max_entries, MAX_SERVICES);
	TYPE(key, u32);
	PINNED;
	struct {
		UINT(type, MAP_ARRAY);
		UINT(max_entries, 1);
		/* Sizes, not types: clang 14 leaves those out at this depth. */
		UINT(key_size, sizeof(u32));
		UINT(value_size, sizeof(struct table));
	} * values[];
} tables SEC(".maps");

struct {
	UINT(type, MAP_ARRAY);
	UINT(max_entries, MAX_ENDPOINTS);
	TYPE(key, u32);
	TYPE(value, struct endpoint);
	PINNED;
} endpoints SEC(".maps");

/* The process says how many. */
struct {
	UINT(type, MAP_LRU_HASH);
	UINT(max_entries, 1);
	TYPE(key, struct flow_key);
	TYPE(value, struct flow);
	PINNED;
} flows SEC(".maps");

struct {
	UINT(type, MAP_PERCPU_ARRAY);
	UINT(max_entries, MAX_ENDPOINTS);
	TYPE(key, u32);
	TYPE(value, struct counters);
	PINNED;
} counted SEC(".maps");

struct {
	UINT(type, MAP_PERCPU_ARRAY);
	UINT(max_entries, EVENTS);
	TYPE(key, u32);
	TYPE(value, u64);
	PINNED;
} events SEC(".maps");

struct {
	UINT(type, MAP_HASH);
	UINT(max_entries, MAX_INTERFACES);
	TYPE(key, u32);
	TYPE(value, struct interface);
	PINNED;
} interfaces SEC(".maps");

/* A packet on its way through this program. */
struct packet {
	struct flow_key flow;
	u32 opens;   /* a TCP segment that begins a connection */
	u32 reports; /* an ICMP error about a packet of the flow */
};

INLINE void count_event(u32 event)
{
	u64 *count = map_lookup(&events, &event);

	if (count)
		*count += 1;
}

INLINE int same_mac(const u8 *one, const u8 *other)
{
	u32 unlike = 0;

#pragma unroll
	for (int at = 0; at < 6; at++)
		unlike |= one[at] ^ other[at];
	return !unlike;
}

INLINE void copy_mac(u8 *to, const u8 *from)
{
#pragma unroll
	for (int at = 0; at < 6; at++)
		to[at] = from[at];
}

INLINE void map_ipv4(u32 *to, u32 address)
{
	to[0] = 0;
	to[1] = 0;
	to[2] = MAPPED;
	to[3] = address;
}

INLINE void copy_ipv6(u32 *to, const u32 *from)
{
#pragma unroll
	for (int at = 0; at < 4; at++)
		to[at] = from[at];
}

INLINE int same_ipv6(const u32 *one, const u32 *other)
{
	u32 unlike = 0;

#pragma unroll
	for (int at = 0; at < 4; at++)
		unlike |= one[at] ^ other[at];
	return !unlike;
}

/* MurmurHash3 (32 bits) over words as this machine loads them, with no seed: other balancers with the same
 * configuration lead a flow to the same endpoint. `src/dr/hash.rs` has it again. */
INLINE u32 mix(u32 hash, u32 word)
{
	word *= 0xCC9E2D51;
	word = word << 15 | word >> 17;
	word *= 0x1B873593;
	hash ^= word;
	hash = hash << 13 | hash >> 19;
	return hash * 5 + 0xE6546B64;
}

INLINE u32 finish(u32 hash, u32 length)
{
	hash ^= length;
	hash ^= hash >> 16;
	hash *= 0x85EBCA6B;
	hash ^= hash >> 13;
	hash *= 0xC2B2AE35;
	return hash ^ hash >> 16;
}

INLINE u32 hash_of(const struct flow_key *flow, int by_source)
{
	u32 hash = 0;

#pragma unroll
	for (int at = 0; at < 4; at++)
		hash = mix(hash, flow->client[at]);
	if (by_source)
		return finish(hash, 16);
#pragma unroll
	for (int at = 0; at < 4; at++)
		hash = mix(hash, flow->address[at]);
	hash = mix(hash, (u32)flow->client_port | (u32)flow->port << 16);
	hash = mix(hash, flow->protocol);
	return finish(hash, 40);
}

/* The ports of a packet to a service. */
INLINE int read_transport(struct packet *packet, void *at, void *end)
{
	struct ports *ports = at;
	struct tcp *tcp = at;

	if (packet->flow.protocol == TCP) {
		if ((void *)(tcp + 1) > end)
			return 0;
		packet->opens = (tcp->flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
	} else if (packet->flow.protocol != UDP) {
		return 0;
	}
	if ((void *)(ports + 1) > end)
		return 0;
	packet->flow.client_port = ports->source;
	packet->flow.port = ports->destination;
	return 1;
}

/* The ports of the packet that an ICMP error is about: an endpoint sent it to the client. */
INLINE int read_reported(struct packet *packet, void *at, void *end)
{
	struct ports *ports = at;

	if (packet->flow.protocol != TCP && packet->flow.protocol != UDP)
		return 0;
	if ((void *)(ports + 1) > end)
		return 0;
	packet->flow.client_port = ports->destination;
	packet->flow.port = ports->source;
	packet->reports = 1;
	return 1;
}

/* How long a header of IPv4 is, in bytes; 0 when it is none. */
INLINE u32 ipv4_length(const struct ipv4 *ip)
{
	u32 length = (ip->version_length & 15) * 4;

	return ip->version_length >> 4 == 4 && length >= sizeof(*ip) ? length : 0;
}

INLINE int read_reported_ipv4(struct packet *packet, void *at, void *end)
{
	struct icmp *icmp = at;
	struct ipv4 *ip = (void *)(icmp + 1);
	u32 length;

	if ((void *)(ip + 1) > end)
		return 0;
	/* Destination unreachable (also: too big), time exceeded, parameter problem: RFC 792. */
	if (icmp->type != 3 && icmp->type != 11 && icmp->type != 12)
		return 0;
	length = ipv4_length(ip);
	if (!length || ip->fragment & NOT_FIRST_FRAGMENT)
		return 0;
	map_ipv4(packet->flow.client, ip->destination);
	map_ipv4(packet->flow.address, ip->source);
	packet->flow.protocol = ip->protocol;
	return read_reported(packet, (void *)ip + length, end);
}

INLINE int read_ipv4(struct packet *packet, struct ipv4 *ip, void *end)
{
	u32 length, addressed;

	if ((void *)(ip + 1) > end)
		return 0;
	length = ipv4_length(ip);
	addressed = ip->destination;
	/* Only the first fragment has ports, and the kernel cannot put together what goes elsewhere in part. */
	if (!length || ip->fragment & ANY_FRAGMENT)
		return 0;
	if (ip->protocol == ICMP)
		return read_reported_ipv4(packet, (void *)ip + length, end) &&
		       packet->flow.address[3] == addressed;
	map_ipv4(packet->flow.client, ip->source);
	map_ipv4(packet->flow.address, ip->destination);
	packet->flow.protocol = ip->protocol;
	return read_transport(packet, (void *)ip + length, end);
}

INLINE int read_reported_ipv6(struct packet *packet, void *at, void *end)
{
	struct icmp *icmp = at;
	struct ipv6 *ip = (void *)(icmp + 1);

	if ((void *)(ip + 1) > end)
		return 0;
	/* Errors are those below 128: RFC 4443. */
	if (icmp->type < 1 || icmp->type > 4)
		return 0;
	copy_ipv6(packet->flow.client, ip->destination);
	copy_ipv6(packet->flow.address, ip->source);
	packet->flow.protocol = ip->next_header;
	return read_reported(packet, ip + 1, end);
}

INLINE int read_ipv6(struct packet *packet, struct ipv6 *ip, void *end)
{
	if ((void *)(ip + 1) > end || (*(u8 *)ip) >> 4 != 6)
		return 0;
	if (ip->next_header == ICMPV6)
		return read_reported_ipv6(packet, ip + 1, end) &&
		       same_ipv6(packet->flow.address, ip->destination);
	copy_ipv6(packet->flow.client, ip->source);
	copy_ipv6(packet->flow.address, ip->destination);
	packet->flow.protocol = ip->next_header;
	return read_transport(packet, ip + 1, end);
}

/* The number of the endpoint that the service's table has for the flow; 0 for none. */
INLINE u32 look_up(const struct service *service, const struct flow_key *flow)
{
	u32 hash = hash_of(flow, service->flags & SERVICE_BY_SOURCE);
	u64 slot = ((u64)hash * SLOTS) >> 32;
	u32 which = service->table, first = 0;
	struct table *table;
	void *inner;

	inner = map_lookup(&tables, &which);
	if (!inner)
		return 0;
	table = map_lookup(inner, &first);
	if (!table || slot >= SLOTS)
		return 0;
	return table->slot[slot];
}

/* The endpoint of a packet. A connection that begins is led by the table, whatever flow had its ports before. */
INLINE struct endpoint *endpoint_of(const struct service *service, const struct packet *packet, u32 *number)
{
	struct flow *known = 0;
	struct endpoint *endpoint;
	struct counters *counters;
	struct flow flow = {};

	if (!packet->opens)
		known = map_lookup(&flows, &packet->flow);
	if (known) {
		*number = known->endpoint;
		endpoint = map_lookup(&endpoints, number);
		if (endpoint && endpoint->flags & ENDPOINT_LIVE && endpoint->generation == known->generation)
			return endpoint;
	}
	*number = look_up(service, &packet->flow);
	endpoint = map_lookup(&endpoints, number);
	if (!*number || !endpoint || !(endpoint->flags & ENDPOINT_LIVE))
		return 0;
	if (packet->reports)
		return endpoint;
	flow.endpoint = *number;
	flow.generation = endpoint->generation;
	if (map_update(&flows, &packet->flow, &flow, BPF_ANY))
		count_event(EVENT_NOT_KEPT);
	counters = map_lookup(&counted, number);
	if (counters)
		counters->flows += 1;
	return endpoint;
}

/* One router more: two balancers that lead to each other must not do so for ever. */
INLINE int age_ipv4(struct ipv4 *ip)
{
	u32 sum;

	if (ip->ttl <= 1)
		return 0;
	ip->ttl -= 1;
	/* RFC 1624: the time to live is the upper half of its word. */
	sum = ip->checksum + (u32)NET16(0x0100);
	ip->checksum = sum + (sum >= 0xFFFF);
	return 1;
}

INLINE int age_ipv6(struct ipv6 *ip)
{
	if (ip->hop_limit <= 1)
		return 0;
	ip->hop_limit -= 1;
	return 1;
}

INLINE void count(u32 number, u64 bytes)
{
	struct counters *counters = map_lookup(&counted, &number);

	if (counters) {
		counters->packets += 1;
		counters->bytes += bytes;
	}
}

/* A packet to a service that nobody serves. Who begins is refused at once, by the kernel; a flow waits, because it
 * may go on when an endpoint is well again. */
INLINE int unserved(const struct packet *packet)
{
	count_event(EVENT_NO_ENDPOINT);
	if (packet->opens || packet->reports || packet->flow.protocol == UDP)
		return XDP_PASS;
	return XDP_DROP;
}

INLINE int handle(struct xdp_md *ctx, struct ethernet *frame, void *at, u16 protocol)
{
	void *end = (void *)(long)ctx->data_end;
	u64 bytes = end - (void *)frame;
	struct packet packet = {};
	struct service_key key = {};
	struct endpoint *endpoint;
	struct service *service;
	u32 number = 0;

	if (protocol == ETH_P_IP) {
		if (!read_ipv4(&packet, at, end))
			return XDP_PASS;
	} else if (!read_ipv6(&packet, at, end)) {
		return XDP_PASS;
	}
	copy_ipv6(key.address, packet.flow.address);
	key.port = packet.flow.port;
	key.protocol = packet.flow.protocol;
	service = map_lookup(&services, &key);
	if (!service)
		return XDP_PASS;
	endpoint = endpoint_of(service, &packet, &number);
	if (!endpoint)
		return unserved(&packet);
	if (protocol == ETH_P_IP ? !age_ipv4(at) : !age_ipv6(at)) {
		count_event(EVENT_EXPIRED);
		return XDP_DROP;
	}
	if (packet.reports)
		count_event(EVENT_ICMP);
	count(number, bytes);
	copy_mac(frame->destination, endpoint->mac);
	copy_mac(frame->source, endpoint->source_mac);
	if (endpoint->ifindex == ctx->ingress_ifindex)
		return XDP_TX;
	return redirect(endpoint->ifindex, 0);
}

SEC("xdp") int forward(struct xdp_md *ctx)
{
	void *at = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethernet *frame = at;
	u32 ifindex = ctx->ingress_ifindex;
	struct interface *interface;
	u16 protocol;

	if ((void *)(frame + 1) > end)
		return XDP_PASS;
	interface = map_lookup(&interfaces, &ifindex);
	/* A frame to somebody else, which a bridge has sent everywhere: it may be one of ours. */
	if (!interface || !same_mac(frame->destination, interface->mac))
		return XDP_PASS;
	protocol = frame->protocol;
	at = frame + 1;
#pragma unroll
	for (int depth = 0; depth < 2; depth++) {
		struct vlan *vlan = at;

		if (protocol != ETH_P_8021Q && protocol != ETH_P_8021AD)
			break;
		if ((void *)(vlan + 1) > end)
			return XDP_PASS;
		protocol = vlan->protocol;
		at = vlan + 1;
	}
	if (protocol != ETH_P_IP && protocol != ETH_P_IPV6)
		return XDP_PASS;
	return handle(ctx, frame, at, protocol);
}

SEC("license") char _license[] = "Apache-2.0";
