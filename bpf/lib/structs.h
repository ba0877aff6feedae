/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Every layout that crosses the border between kernel and user space: configuration, map keys and values, event records.
 *
 * - This file is the one definition; user space derives its codecs from the object's BTF.
 * - Addresses are 16 bytes in network order; IPv4 is v4-mapped (::ffff:a.b.c.d), so its prefix lengths are 96 + n.
 * - Fields named `port…`, `sport`, `dport` of type __be16 are in network order; everything else is in host order.
 * - Times are seconds of the conntrack clock (jiffies64 / config.hz), see clock.h; only events carry nanoseconds.
 * - `pad` is always zero.
 */
#pragma once

#include <linux/bpf.h>
#include <linux/types.h>

/* aligned(4), not 8: it follows a 4-byte prefix length in longest-prefix-match keys. */
struct addr {
	__be32 w[4];
};

/* ---- configuration: .rodata, set by the loader before load, frozen afterwards; dead branches vanish ---- */

enum trace_aggregation {
	TRACE_NONE = 0,    /* an event for every packet at every point */
	TRACE_LOW = 1,     /* only the points where a packet leaves us (to-…) */
	TRACE_MEDIUM = 2,  /* to-… points of new connections, new TCP flags, and once an interval */
	TRACE_MAXIMUM = 3, /* as much as is there: as medium */
	TRACE_OFF = 4,     /* drops and policy verdicts only */
};

enum tunnel {
	TUNNEL_NONE = 0,
	TUNNEL_VXLAN = 1,
	TUNNEL_GENEVE = 2,
};

enum encryption {
	ENCRYPTION_NONE = 0,
	ENCRYPTION_WIREGUARD = 1,
	ENCRYPTION_IPSEC = 2,
};

struct cidr {
	struct addr addr;
	__u32 prefixlen; /* counted in 128 bits; 0: none */
};

struct config {
	__u32 hz;                       /* ticks of jiffies in a second (CONFIG_HZ), measured with the clock program */
	__u32 timeout_tcp_syn;          /* s, until a packet without SYN is seen */
	__u32 timeout_tcp_established;  /* s */
	__u32 timeout_tcp_closing;      /* s, after both sides closed */
	__u32 timeout_any;              /* s, everything but TCP */
	__u16 nat_port_min;             /* masquerading allocates from min..max, both included */
	__u16 nat_port_max;
	__u16 trace_interval;           /* s between trace events of a direction of a connection at TRACE_MEDIUM */
	__u8 trace_aggregation;         /* enum trace_aggregation */
	__u8 ipv4;                      /* 1: handle the family, 0: its packets from pods are dropped (139) */
	__u8 ipv6;
	__u8 masquerade_ipv4;
	__u8 masquerade_ipv6;
	__u8 allow_localhost;           /* 1: the node reaches its pods whatever their ingress policy */
	__u8 allow_icmp_frag_needed;    /* 1: fragmentation-needed and packet-too-big pass policy */
	__u8 services;                  /* 1: packets to frontends are translated, 0: `frontends` is not looked at */
	__u8 service_reject;            /* 1: without a backend a connection is refused (RST, port unreachable), 0: dropped (158) */
	__u8 service_external_cluster_ip; /* 1: ClusterIPs are reachable from outside, 0: dropped (174) */
	__u8 dsr;                       /* 1: packets from other nodes may carry the frontend's address */
	__u8 host_firewall;             /* 1: connections of the node itself are tracked, and subject to its policy */
	__u16 node_port_min;            /* ports of nodes that are services', both included */
	__u16 node_port_max;
	__u8 tunnel;                    /* enum tunnel: how pods of other nodes are reached */
	__u8 encryption;                /* enum encryption */
	__u8 encryption_strict;         /* 1: packets between pods that would leave the node in clear are dropped (195) */
	__u8 node_encryption;           /* 1: what the node itself sends is encrypted too (WireGuard) */
	__u16 tunnel_port;              /* UDP */
	__u8 trace_flags;               /* TCP flags that are told of when a direction of a connection has them first */
	__u8 pad;
	struct cidr strict_ipv4;        /* encryption_strict: pods are here too, known or not */
	struct cidr strict_ipv6;
	struct cidr native_routing_ipv4; /* destinations that are never masqueraded */
	struct cidr native_routing_ipv6;
	struct addr loopback_ipv4;      /* source of a pod that reaches itself through a service; nobody else's address */
	struct addr loopback_ipv6;
};

/* ---- identities with a meaning of their own ---- */

enum reserved_identity {
	IDENTITY_UNKNOWN = 0,
	IDENTITY_HOST = 1,
	IDENTITY_WORLD = 2,
	IDENTITY_UNMANAGED = 3,
	IDENTITY_HEALTH = 4,
	IDENTITY_INIT = 5,
	IDENTITY_REMOTE_NODE = 6,
	IDENTITY_KUBE_APISERVER = 7,
	IDENTITY_INGRESS = 8,
	IDENTITY_WORLD_IPV4 = 9,
	IDENTITY_WORLD_IPV6 = 10,
};

/* ---- endpoints: address -> the pod behind it on this node ---- */

enum endpoint_flags {
	ENDPOINT_ENFORCE_INGRESS = 1 << 0, /* without it the direction allows everything, no lookup */
	ENDPOINT_ENFORCE_EGRESS = 1 << 1,
	ENDPOINT_POLICY_AUDIT = 1 << 2,    /* what policy denies passes, with a verdict event that says so */
};

/*
 * Writer: agent (bpf.endpoints rows). Readers: all programs. One entry per address of a local pod.
 * Full: the agent's put fails with E2BIG and the pod does not become ready. Absent: not a local pod.
 */
struct endpoint {
	__u32 ifindex;         /* host side of the pod's veth */
	__u32 identity;
	__u32 id;              /* key of `policy` */
	__u32 flags;           /* enum endpoint_flags */
	__u32 policy_revision; /* added to the node's (map policy_revision); conntrack entries checked at another sum are checked again. Another one while auditing, so that what only audit lets through is checked after it. 0: always check */
	__u8 mac[6];           /* pod side; mac and host_mac lie as destination and source of an Ethernet header */
	__u8 host_mac[6];      /* host side */
};

#include "structs-nodes.h"

/* ---- policy: endpoint id -> longest-prefix-match map of these ---- */

enum direction {
	DIRECTION_INGRESS = 0,
	DIRECTION_EGRESS = 1,
};

/* Bits before protocol and port; an entry's prefixlen is this plus 0 (any protocol), 8 (any port) or 9..24. */
#define POLICY_PREFIX_BASE 40

struct policy_key {
	__u32 prefixlen;
	__u32 identity; /* of the peer; 0: any */
	__u8 direction; /* enum direction */
	__u8 proto;
	__be16 dport;   /* for ICMP the type, in network order too */
};

enum policy_flags {
	POLICY_DENY = 1 << 0,
};

/*
 * Writer: agent. Reader: policy.h. Full: the agent's put fails with ENOSPC and the old revision stays in force.
 * Of the entry for the exact identity and that for any identity the one with the higher precedence wins; on a tie the longer prefix,
 * then the exact identity. No entry: denied (133). No inner map for an enforcing endpoint: dropped (165).
 */
struct policy_entry {
	__u32 precedence;
	__u32 cookie;      /* names the rule in verdict events */
	__be16 proxy_port; /* reserved for the proxy: until it exists a redirect is dropped (180) */
	__u8 flags;        /* enum policy_flags */
	__u8 prefixlen;    /* bits of protocol and port in the key, 0..24 */
};

/* ---- conntrack: one entry per connection, whichever way its packets go ---- */

/* The two ends in ascending order (see ct_key_of); an echo's id is the port of the end that asked, the other port is 0. */
struct ct_key {
	struct addr a;
	struct addr b;
	__be16 port_a;
	__be16 port_b;
	__u8 proto;
	__u8 pad[3];
};

enum ct_flags {
	CT_ORIGIN_B = 1 << 0,      /* the end that began the connection is b */
	CT_SEEN_REPLY = 1 << 1,
	CT_ESTABLISHED = 1 << 2,   /* a TCP packet without SYN was seen */
	CT_CLOSING_ORIGIN = 1 << 3, /* the originator sent FIN, or either sent RST */
	CT_CLOSING_REPLY = 1 << 4,
	CT_HOST = 1 << 5,          /* one end is this node itself */
	CT_SERVICE = 1 << 6,       /* began at a frontend: replies are translated by `service_flows` */
};

/* Index of per-direction fields. */
enum ct_dir {
	CT_DIR_ORIGIN = 0,
	CT_DIR_REPLY = 1,
};

/*
 * Writers: programs (changed in place, at most once a second and at state changes); the agent deletes what is past `expires`.
 * Full: the least recently used goes; that connection's next packet makes a new entry and is subject to policy again.
 */
struct ct_entry {
	__u32 expires;            /* s */
	__u16 flags;              /* enum ct_flags */
	__u8 tcp_flags[2];        /* seen, by enum ct_dir */
	__u32 src_identity;       /* of the originator, as last checked */
	__u32 dst_identity;
	__u32 policy_revision[2]; /* by enum direction: revision at which ingress (of the destination) and egress (of the source) allowed it; 0: not checked */
	__u16 last_report[2];     /* s modulo 2^16, by enum ct_dir: last trace event */
	__u32 created;            /* s */
	__u32 backend_id;         /* CT_SERVICE: as when the connection began, else 0 */
	__u16 rev_nat;            /* reserved */
	__be16 proxy_port;        /* reserved for the proxy */
};

/* With the kernel's 48 bytes in front, key and value are two cache lines. */
_Static_assert(sizeof(struct ct_key) == 40 && sizeof(struct ct_entry) == 40, "a conntrack entry is two cache lines");

/* ---- nat: masquerading, two entries per flow ---- */

/*
 * The packet as it is before translation. Egress: from the pod (or the node) to the world, the source changes.
 * Ingress: from the world to the node, the destination changes. An echo's id is the port of the end that asked, the other port is 0.
 */
struct nat_key {
	struct addr saddr;
	struct addr daddr;
	__be16 sport;
	__be16 dport;
	__u8 proto;
	__u8 direction; /* enum direction */
	__u16 pad;
};

/*
 * Writers: programs; the agent deletes entries whose connection is gone. A flow's ingress entry is the claim on its port.
 * Full: the least recently used goes; if only one of the pair goes, the next outgoing packet restores it (see nat_verify).
 */
struct nat_entry {
	struct addr addr; /* new source or destination */
	__be16 port;
	__u16 pad;
	__u32 created;    /* s */
	__u32 verified;   /* s: when the egress entry last saw its ingress entry in place */
	__u32 pad2[3];
};

_Static_assert(sizeof(struct nat_key) == 40 && sizeof(struct nat_entry) == 40, "a NAT entry is two cache lines");

#include "structs-services.h"

/* ---- fragments: ports of the first fragment for the later ones ---- */

struct fragment_key {
	struct addr saddr;
	struct addr daddr;
	__be32 id; /* IPv4: 16 bits */
	__u8 proto;
	__u8 pad[3];
};

/* Writers and readers: programs. Full: the least recently used goes; later fragments of that datagram are dropped (175). */
struct fragment_ports {
	__be16 sport;
	__be16 dport;
	__be16 policy_port; /* as in policy_key.dport */
	__u16 pad;
};

/* ---- metrics: per CPU, index = reason * METRIC_DIRECTIONS + direction ---- */

#define METRIC_REASONS 256
#define METRIC_DIRECTIONS 2

/* Writers: programs. Reader: agent. Reason 0 is forwarded; names in lib/drop-reasons.h. Cannot fill up. */
struct metric {
	__u64 packets;
	__u64 bytes;
};

#include "structs-events.h"
