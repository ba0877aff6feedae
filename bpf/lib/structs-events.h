/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Layouts of what programs tell user space packet by packet. Included by structs.h, whose rules hold here. */
#pragma once

/* ---- events: ring buffer ---- */

enum event_type {
	EVENT_DROP = 1,           /* subtype: drop reason */
	EVENT_TRACE = 2,          /* subtype: enum trace_point */
	EVENT_POLICY_VERDICT = 3, /* subtype: enum policy_action */
	EVENT_SOCK = 4,           /* struct sock_event; subtype: enum sock_point */
};

/* Hubble's numbers. */
enum trace_point {
	TRACE_TO_ENDPOINT = 0,
	TRACE_TO_HOST = 2,
	TRACE_TO_STACK = 3,
	TRACE_TO_OVERLAY = 4,
	TRACE_FROM_ENDPOINT = 5,
	TRACE_FROM_HOST = 7,
	TRACE_FROM_OVERLAY = 9,
	TRACE_FROM_NETWORK = 10,
	TRACE_TO_NETWORK = 11,
	TRACE_FROM_CRYPTO = 12,
	TRACE_TO_CRYPTO = 13,
};

enum policy_action {
	POLICY_ACTION_ALLOW = 0,
	POLICY_ACTION_DENY = 1,  /* `reason` says which */
	POLICY_ACTION_AUDIT = 2, /* would be denied */
};

/* What of an entry's key matched, Hubble's numbers. */
enum policy_match {
	POLICY_MATCH_NONE = 0,
	POLICY_MATCH_L3_ONLY = 1,
	POLICY_MATCH_L3_L4 = 2,
	POLICY_MATCH_L4_ONLY = 3,
	POLICY_MATCH_ALL = 4,
	POLICY_MATCH_L3_PROTO = 5,
	POLICY_MATCH_PROTO_ONLY = 6,
};

/* Hubble's numbers; CT_STATE_NONE: conntrack was not asked. */
enum ct_state {
	CT_STATE_NEW = 0,
	CT_STATE_ESTABLISHED = 1,
	CT_STATE_REPLY = 2,
	CT_STATE_RELATED = 3,
	CT_STATE_NONE = 255,
};

enum source_file {
	SOURCE_DATAPATH = 1,
	SOURCE_PARSE = 2,
	SOURCE_NEIGHBOR = 3,
	SOURCE_CONNTRACK = 4,
	SOURCE_POLICY = 5,
	SOURCE_NAT = 6,
	SOURCE_DELIVERY = 7,
	SOURCE_FRAGMENT = 8,
	SOURCE_REWRITE = 9,
	SOURCE_LB = 10,
	SOURCE_LB_CHOICE = 11,
	SOURCE_LB_NETDEV = 12,
	SOURCE_LB_ERROR = 13,
	SOURCE_LB_REFUSE = 14,
	SOURCE_DSR = 15,
	SOURCE_HOST = 16,
	SOURCE_OVERLAY = 17,
	SOURCE_ENCRYPT = 18,
	SOURCE_INGRESS = 19,
	SOURCE_EGRESS = 20,
};

/* Which end `orig_addr` and `orig_port` of an event are about. */
enum orig_end {
	ORIG_NONE = 0,
	ORIG_SOURCE = 1,      /* masquerade, or the reply of a service's backend */
	ORIG_DESTINATION = 2, /* the frontend of a service */
};

#define EVENT_CAPTURE 128

/* Writers: programs. Reader: agent. Full: the event is lost and counted (REASON_EVENT_LOST), the packet is not affected. */
struct event {
	__u64 timestamp;     /* ns, CLOCK_MONOTONIC */
	__u8 type;           /* enum event_type */
	__u8 subtype;
	__u8 direction;      /* enum direction, as the endpoint in endpoint_id sees it */
	__u8 ct_state;       /* enum ct_state */
	__u8 proto;
	__u8 tcp_flags;
	__u8 policy_match;   /* enum policy_match, verdicts only */
	__u8 reason;         /* of a denied or audited verdict */
	__u32 endpoint_id;   /* whose packet it is; 0: none of this node's */
	__u32 ifindex;       /* trace: device the packet goes to; else where it came from */
	__u32 src_identity;
	__u32 dst_identity;
	__u32 flow_hash;
	__u32 policy_cookie; /* verdicts only */
	__u32 len_orig;      /* of the packet with its Ethernet header */
	__u16 len_cap;       /* bytes of data that are valid */
	__u8 source_file;    /* drops: enum source_file */
	__u8 orig_end;       /* enum orig_end */
	__u16 source_line;
	__be16 orig_port;    /* of that end before translation; 0 and :: none */
	struct addr orig_addr;
	__u8 data[EVENT_CAPTURE];
};

/* Hubble's numbers. */
enum sock_point {
	SOCK_POINT_FORWARD = 2, /* a socket, or a datagram of one, was translated */
};

/* Writers: socket hooks. Reader: agent. Full: the event is lost, the socket is not affected. */
struct sock_event {
	__u64 timestamp;    /* ns, CLOCK_MONOTONIC */
	__u8 type;          /* EVENT_SOCK */
	__u8 subtype;       /* enum sock_point */
	__u8 proto;
	__u8 pad;
	__u32 frontend_id;
	__u64 cookie;
	__u64 netns_cookie;
	__u64 cgroup_id;
	struct addr frontend_addr;
	struct addr backend_addr;
	__be16 frontend_port;
	__be16 backend_port;
	__u32 backend_id;
};
