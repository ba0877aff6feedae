/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Layouts of what services are made of: frontends, backends and the sets between them, flows, sockets. Included by structs.h, whose
 * rules hold here.
 */
#pragma once

/* ---- services: address and port that a client knows -> the backends behind it ---- */

/* Ports in network order. An ICMP packet has no frontend. */
struct frontend_key {
	struct addr addr;
	__be16 port;
	__u8 proto;
	__u8 pad;
};

/* None of the first four: a ClusterIP. */
enum frontend_flags {
	FRONTEND_NODE_PORT = 1 << 0,
	FRONTEND_EXTERNAL_IP = 1 << 1,
	FRONTEND_LOAD_BALANCER = 1 << 2,
	FRONTEND_HOST_PORT = 1 << 3,
	FRONTEND_EXTERNAL_LOCAL = 1 << 4, /* without a local backend clients from outside are dropped, not refused: another node has one */
	FRONTEND_SOURCE_RANGES = 1 << 5,  /* clients from outside must be in `source_ranges` */
	FRONTEND_DSR = 1 << 6,            /* to backends of other nodes without SNAT: they answer the client themselves */
};

/*
 * Writer: agent (bpf.frontends rows). Readers: from_endpoint, from_netdev, XDP, socket hooks; only for connections that begin.
 * Full: the agent's put fails with E2BIG, the frontend is not served. Absent: no service.
 */
struct frontend {
	__u32 id;           /* in source_ranges and events */
	__u32 internal_set; /* for clients on this node */
	__u32 external_set; /* for clients from outside */
	__u32 flags;        /* enum frontend_flags */
};

/*
 * Key: set id. Writer: agent (bpf.backend-sets rows): backends before slots, slots before a higher count, a lower count before slots go.
 * Readers: as of `frontends`. Full: the agent's put fails with E2BIG. Absent, or count 0: there is no backend.
 */
struct backend_set {
	__u32 count;            /* slots 0..count-1 of backend_slots */
	__u32 maglev_size;      /* entries of the set's table in `maglev`, for clients from outside; 0: random */
	__u32 affinity_timeout; /* s, of ClientIP affinity; 0: none */
};

/* Value: backend id. Writer and readers as of `backend_sets`. Full: the agent's put fails with E2BIG. */
struct backend_slot_key {
	__u32 set;
	__u32 slot;
};

/*
 * Key: backend id, never 0. Writer: agent (bpf.backends rows), as long as anything may choose it or flows of datagrams may have it.
 * Readers: as of `frontends`. Full: the agent's put fails with E2BIG. Absent: not chosen; datagrams that went there choose anew.
 */
struct backend {
	struct addr addr;
	__be16 port;
	__u8 proto;
	__u8 pad;
};

/*
 * Element of a set's Maglev table: table index i is backend_id[i % 16] of element i / 16; the rest of the last element is 0.
 * Writer: agent, which swaps the inner map (BPF_F_INNER_MAP, so sizes differ) as a whole. Full: the agent's put fails; random then.
 */
#define MAGLEV_LINE 16
struct maglev_line {
	__u32 backend_id[MAGLEV_LINE];
};

/* Value: one byte, 1. Longest-prefix match: prefixlen is 32 + the prefix length counted in 128 bits. Writer: agent (bpf.source-ranges rows). */
struct source_range_key {
	__u32 prefixlen; /* host order, 32..160 */
	__u32 frontend;  /* frontend.id, whole */
	struct addr addr;
};

/* A client's address, or in the first 8 bytes the cookie of the network namespace of a socket (no client address ends in 8 zero bytes). */
struct affinity_key {
	struct addr client;
	__u32 set;
};

/* Writers and readers: programs. Full: the least recently used goes; that client's next connection chooses anew. */
struct affinity {
	__u32 backend;   /* backend id */
	__u32 last_used; /* s, when a connection last began */
};

/* Value: one byte, 1: this backend is in the set. Writer: agent, for sets with an affinity_timeout. Absent: affinity to it is void. */
struct affinity_match {
	__u32 set;
	__u32 backend;
};

enum service_name_kind {
	SERVICE_NAME_SET = 1,      /* key of a bpf.backend-sets row */
	SERVICE_NAME_FRONTEND = 2, /* service, port name and key of a bpf.frontends row, a zero byte between them */
};

struct service_name_key {
	__u32 kind; /* enum service_name_kind */
	__u32 id;   /* backend set id, frontend.id */
};

/*
 * What the numbers of sets and frontends stand for, so that an agent that starts knows its rows again. No program reads it.
 * Writer and reader: agent. Full: the agent's put of the row fails with E2BIG.
 */
struct service_name {
	__u8 text[448]; /* UTF-8, zero-padded; with the kernel's overhead it fills the 512 bytes that it is given */
};

enum service_direction {
	SERVICE_FORWARD = 0, /* from the client to the frontend: the destination changes */
	SERVICE_REPLY = 1,   /* from the backend to the client, as it is after SNAT is undone: the source changes */
};

/* A packet of the connection before translation. */
struct service_flow_key {
	struct addr saddr;
	struct addr daddr;
	__be16 sport;
	__be16 dport;
	__u8 proto;
	__u8 direction; /* enum service_direction */
	__u16 pad;
};

enum service_flow_flags {
	SERVICE_HAIRPIN = 1 << 0, /* client and backend are one pod: the client's address is config.loopback_… on the backend's side */
	SERVICE_DSR = 1 << 1,     /* forward: the backend's node answers; reply: learnt from a packet of another node */
};

/*
 * Two per connection; what replies need is copied in, so it outlives the service. The reply one is a claim, made with BPF_NOEXIST: a client's port
 * is used once towards one backend. The connection's state is its entry in `conntrack`, between client and backend.
 * Writers: programs; the agent deletes entries whose connection is gone. Full: the least recently used goes; the next packet of the
 * client restores the reply one, and chooses a backend anew without the forward one.
 */
struct service_flow {
	struct addr addr;   /* forward: the backend's, reply: the frontend's */
	__be16 port;
	__u8 flags;         /* enum service_flow_flags */
	__u8 pad;
	__u32 backend_id;
	__u32 frontend_id;
	__u32 created;      /* s */
	__u32 verified;     /* s: when the forward entry last saw its reply entry in place */
	__u32 pad2;
};

_Static_assert(sizeof(struct service_flow_key) == 40 && sizeof(struct service_flow) == 40, "a flow's entry is two cache lines");

/* ---- services in sockets ---- */

/* A socket of datagrams that was translated, and the other end that it got. */
struct sock_revnat_key {
	__u64 cookie;
	struct addr addr;
	__be16 port;
	__u8 proto;
	__u8 pad[5];
};

/* The frontend. Writers and readers: socket hooks. Full: the least recently used goes; that socket sees the backend's address. */
struct sock_revnat {
	struct addr addr;
	__be16 port;
	__u16 pad;
};

/* A TCP socket that was translated, and the frontend that it knows. */
struct sock_peer {
	struct addr backend;
	struct sock_revnat frontend;
	__be16 backend_port;
	__u16 pad;
};

#define SOCK_PEER_WAYS 8

/*
 * Index: socket cookie modulo the number of buckets. Writers and readers: socket hooks; a place is claimed by compare-and-swap of its
 * cookie, 0 being free, and freed when the socket closes. Full: another socket's place is taken; that one sees the backend's address.
 */
struct sock_peers {
	__u64 cookie[SOCK_PEER_WAYS]; /* a cache line */
	struct sock_peer peer[SOCK_PEER_WAYS];
};

_Static_assert(sizeof(struct sock_peer) == 40 && sizeof(struct sock_peers) == 384, "a bucket is six cache lines");

/* Value: backend id that datagrams of an unconnected socket to a frontend go to. Full: the least recently used goes and is chosen anew. */
struct sock_flow_key {
	__u64 cookie;
	__u32 frontend; /* frontend.id */
	__u32 pad;
};
