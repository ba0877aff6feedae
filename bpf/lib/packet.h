/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What a program knows about the packet in its hands: one struct, filled by parse.h and carried through every step.
 *
 * - It lives in a per-CPU map, not on the stack: the verifier follows every constant that is stored on the stack, which
 *   makes it walk each step once for every combination of the steps before (and 6.1 cannot forget what is irrelevant in a
 *   program with functions). What comes out of a map is just a number.
 * - Programs of one CPU do not nest: they run with softirqs off, and a redirect takes effect after the program's end.
 */
#pragma once

#include <stdbool.h>

#include "maps.h"

#include <bpf/bpf_endian.h>
#include <linux/icmpv6.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>
#include <linux/udp.h>

#include "drop-reasons.h"

#define noinline_fn static __attribute__((noinline))
#define inline_fn static __always_inline

/* From linux/icmp.h and linux/if_arp.h, which cannot be had without a C library. */
#define ICMP_ECHOREPLY 0
#define ICMP_DEST_UNREACH 3
#define ICMP_SOURCE_QUENCH 4
#define ICMP_ECHO 8
#define ICMP_TIME_EXCEEDED 11
#define ICMP_PARAMETERPROB 12
#define ICMP_FRAG_NEEDED 4
#define ARPHRD_ETHER 1
#define ARPOP_REQUEST 1
#define ARPOP_REPLY 2

#define TCP_FLAG_FIN 0x01
#define TCP_FLAG_SYN 0x02
#define TCP_FLAG_RST 0x04
#define TCP_FLAG_ACK 0x10

/* On Ethernet without VLAN tags, the only framing we have, the network header lies here. */
#define L3_OFF ETH_HLEN

struct tuple {
	struct addr saddr;
	struct addr daddr;
	__be16 sport; /* for an echo as in ct_key: the id belongs to the end that asked */
	__be16 dport;
	__u8 proto;
	__u8 pad[3];
} __attribute__((aligned(8)));

/* The head of a packet inside another one, as in an ICMP error. */
struct inner {
	struct tuple tuple;
	__u32 l3_off;
	__u32 l4_off;
};

/* What a packet is to a connection that began at a frontend. */
enum service_role {
	SERVICE_NONE = 0,
	SERVICE_TO_BACKEND = 1,
	SERVICE_TO_CLIENT = 2,       /* not translated back yet, see service_restore */
	SERVICE_ERROR_TO_CLIENT = 3, /* an ICMP error about a packet to the backend; not translated back yet */
};

enum fragment_kind {
	FRAGMENT_NONE = 0,
	FRAGMENT_FIRST = 1,
	FRAGMENT_LATER = 2, /* has no transport header: ports come from the `fragments` map */
};

struct packet {
	struct tuple tuple;
	struct ct_key ct_key;
	struct backend chosen;      /* by backend_choose */
	struct bpf_fib_lookup fib;  /* by route */
	struct nat_entry node;      /* by nat_service */
	struct inner inner;         /* by service_error */
	struct bpf_tunnel_key tunnel_key; /* what the packet is wrapped with, or was */
	/* From here on all is zero at the start of a program. */
	struct addr orig_addr;      /* of the end that was translated, before */
	struct addr tunnel_endpoint; /* node that has the destination, see look_up_destination; :: none */
	__be16 orig_port;
	__u16 l4_off;
	__be16 policy_port;         /* destination port, or ICMP type */
	__u8 ipv6;
	__u8 ttl;
	__u8 tcp_flags;             /* SCTP: its nearest meaning in TCP flags */
	__u8 icmp_type;
	__u8 icmp_code;
	__u8 fragment;              /* enum fragment_kind */
	__u8 direction;             /* enum direction */
	__u8 ct_state;              /* enum ct_state */
	__u8 source_is_b;           /* tuple's source is end b of ct_key */
	__u8 policy_match;
	__u8 policy_reason;
	__u8 drop_reason;           /* with a verdict of DROPPED, see DROP */
	__u8 source_file;
	__u8 orig_end;              /* enum orig_end */
	__u16 source_line;
	__u8 service;               /* enum service_role */
	__u8 service_flags;         /* enum service_flow_flags */
	__u8 encrypt_key;           /* of the destination, see look_up_destination */
	__u8 pad[3];
	__u32 carried_identity;     /* of the source, as the tunnel said it; 0: none did */
	__be32 fragment_id;
	__u32 now;                  /* s */
	__u32 endpoint_id;
	__u32 src_identity;
	__u32 dst_identity;
	__u32 policy_cookie;
	__u32 backend_id;
	__u32 frontend_id;
	__u32 policy_revision[2];   /* by enum direction: what checked this packet, for its conntrack entry */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct packet);
} scratch SEC(".maps");

/* The CPU's struct packet, ready for parsing. NULL only in the eyes of the verifier. */
inline_fn struct packet *packet_begin(__u8 direction)
{
	__u32 index = 0;
	struct packet *p = bpf_map_lookup_elem(&scratch, &index);

	if (!p)
		return NULL;
	p->tuple.sport = 0;
	p->tuple.dport = 0;
	p->tuple.proto = 0;
	__builtin_memset(&p->orig_addr, 0, sizeof(*p) - __builtin_offsetof(struct packet, orig_addr));
	p->direction = direction;
	p->ct_state = CT_STATE_NONE;
	return p;
}

/* The verdict of what must be dropped; why and where is in the packet. Each file defines SOURCE_FILE. */
#define DROPPED (-1)
#define DROP(p, reason) \
	((p)->drop_reason = (reason), (p)->source_file = SOURCE_FILE, (p)->source_line = __LINE__, DROPPED)

inline_fn bool addr_equal(const struct addr *x, const struct addr *y)
{
	return x->w[3] == y->w[3] && x->w[2] == y->w[2] && x->w[1] == y->w[1] && x->w[0] == y->w[0];
}

inline_fn bool addr_is_zero(const struct addr *x)
{
	return !(x->w[0] | x->w[1] | x->w[2] | x->w[3]);
}

inline_fn void addr_from_ipv4(struct addr *out, __be32 ip)
{
	out->w[0] = 0;
	out->w[1] = 0;
	out->w[2] = bpf_htonl(0xffff);
	out->w[3] = ip;
}

/* Multicast and limited broadcast. */
inline_fn bool addr_is_multicast(const struct packet *p, const struct addr *x)
{
	if (p->ipv6)
		return (x->w[0] & bpf_htonl(0xff000000)) == bpf_htonl(0xff000000);
	return (x->w[3] & bpf_htonl(0xf0000000)) == bpf_htonl(0xe0000000) || x->w[3] == 0xffffffff;
}

inline_fn bool addr_is_ipv6_link_local(const struct addr *x)
{
	return (x->w[0] & bpf_htonl(0xffc00000)) == bpf_htonl(0xfe800000);
}

/* Do new flows to outside get the node's address? */
inline_fn bool is_masquerading(const struct packet *p)
{
	return p->ipv6 ? config.masquerade_ipv6 : config.masquerade_ipv4;
}

inline_fn bool is_icmp(__u8 proto)
{
	return proto == IPPROTO_ICMP || proto == IPPROTO_ICMPV6;
}
