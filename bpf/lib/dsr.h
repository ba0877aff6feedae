/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Direct server return: the first packets of a connection that goes on to another node tell that node the frontend, in an option of their
 * network header; it answers the client in the frontend's name.
 *
 * - IPv4: option 0x9a, 8 bytes. IPv6: destination option 0x1b in a header of 24 bytes. Packets that begin a connection carry it.
 * - The backend's node takes the option out again: no pod ever sees one.
 */
#pragma once

#include "lb.h"

#undef SOURCE_FILE
#define SOURCE_FILE SOURCE_DSR

#define DSR_IPV4_OPTION 0x9a
#define DSR_IPV6_OPTION 0x1b

struct dsr_ipv4 {
	__u8 type;
	__u8 len;
	__be16 port;
	__be32 addr;
};

/* A whole extension header. */
struct dsr_ipv6 {
	__u8 nexthdr;
	__u8 hdrlen;   /* in 8 bytes beyond the first 8 */
	__u8 type;
	__u8 len;      /* of what follows */
	__be16 port;
	__u16 pad;
	struct addr addr;
};

/* Puts the changed length of an IPv4 header in: `grown` bytes of options more (or, negative, less). */
inline_fn int dsr_resize_ipv4(struct __sk_buff *skb, int grown)
{
	struct iphdr ip;

	if (bpf_skb_load_bytes(skb, L3_OFF, &ip, sizeof(ip)) < 0)
		return -1;
	ip.ihl += grown / 4;
	ip.tot_len = bpf_htons(bpf_ntohs(ip.tot_len) + grown);
	ip.check = 0;
	return bpf_skb_store_bytes(skb, L3_OFF, &ip, sizeof(ip), 0);
}

inline_fn int dsr_announce_ipv4(struct __sk_buff *skb, const struct packet *p)
{
	struct dsr_ipv4 option = {
		.type = DSR_IPV4_OPTION,
		.len = sizeof(option),
		.port = p->orig_port,
		.addr = p->orig_addr.w[3],
	};
	__u8 header[sizeof(struct iphdr) + sizeof(struct dsr_ipv4)];
	__u16 check;

	if (bpf_skb_adjust_room(skb, sizeof(option), BPF_ADJ_ROOM_NET, 0) < 0 || dsr_resize_ipv4(skb, sizeof(option)) < 0 ||
	    bpf_skb_store_bytes(skb, L3_OFF + sizeof(struct iphdr), &option, sizeof(option), 0) < 0 ||
	    bpf_skb_load_bytes(skb, L3_OFF, header, sizeof(header)) < 0)
		return -1;
	check = csum_fold(bpf_csum_diff(NULL, 0, (__be32 *)header, sizeof(header), 0));
	return bpf_skb_store_bytes(skb, L3_OFF + IPV4_CSUM_OFF, &check, sizeof(check), 0);
}

/* Changes what an IPv6 header says about what follows. */
inline_fn int dsr_resize_ipv6(struct __sk_buff *skb, __u8 nexthdr, int grown)
{
	struct ipv6hdr ip;

	if (bpf_skb_load_bytes(skb, L3_OFF, &ip, sizeof(ip)) < 0)
		return -1;
	ip.nexthdr = nexthdr;
	ip.payload_len = bpf_htons(bpf_ntohs(ip.payload_len) + grown);
	return bpf_skb_store_bytes(skb, L3_OFF, &ip, sizeof(ip), 0);
}

inline_fn int dsr_announce_ipv6(struct __sk_buff *skb, const struct packet *p)
{
	struct dsr_ipv6 option = {
		.nexthdr = p->tuple.proto,
		.hdrlen = sizeof(option) / 8 - 1,
		.type = DSR_IPV6_OPTION,
		.len = sizeof(option) - __builtin_offsetof(struct dsr_ipv6, port),
		.port = p->orig_port,
		.addr = p->orig_addr,
	};

	if (bpf_skb_adjust_room(skb, sizeof(option), BPF_ADJ_ROOM_NET, 0) < 0 ||
	    dsr_resize_ipv6(skb, IPPROTO_DSTOPTS, sizeof(option)) < 0)
		return -1;
	return bpf_skb_store_bytes(skb, L3_OFF + sizeof(struct ipv6hdr), &option, sizeof(option), 0);
}

/* On the client's node: later packets of a stream go as they are. 0 or DROPPED. */
noinline_fn int dsr_announce(struct __sk_buff *skb, struct packet *p)
{
	int ret;

	if (!service_begins(p) || p->fragment == FRAGMENT_LATER)
		return 0;
	/* Nothing may lie between: the option goes behind the fixed header, and a fragment header has its own place. */
	if (p->fragment || p->l4_off != L3_OFF + (p->ipv6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr)))
		return DROP(p, DROP_DSR_ENCAP_UNSUPPORTED_PROTO);
	ret = p->ipv6 ? dsr_announce_ipv6(skb, p) : dsr_announce_ipv4(skb, p);
	return ret < 0 ? DROP(p, DROP_WRITE_ERROR) : 0;
}

/* Takes the option out, with the frontend into p->orig_…. 1: there was one, 0: none, negative: the packet is broken. */
inline_fn int dsr_take_ipv4(struct __sk_buff *skb, struct packet *p)
{
	struct dsr_ipv4 option;
	__u16 check;
	struct iphdr ip;

	if (p->l4_off != L3_OFF + sizeof(struct iphdr) + sizeof(option))
		return 0;
	if (bpf_skb_load_bytes(skb, L3_OFF + sizeof(struct iphdr), &option, sizeof(option)) < 0 ||
	    option.type != DSR_IPV4_OPTION || option.len != sizeof(option))
		return 0;
	if (bpf_skb_adjust_room(skb, -(int)sizeof(option), BPF_ADJ_ROOM_NET, 0) < 0 ||
	    dsr_resize_ipv4(skb, -(int)sizeof(option)) < 0 || bpf_skb_load_bytes(skb, L3_OFF, &ip, sizeof(ip)) < 0)
		return -1;
	check = csum_fold(bpf_csum_diff(NULL, 0, (__be32 *)&ip, sizeof(ip), 0));
	if (bpf_skb_store_bytes(skb, L3_OFF + IPV4_CSUM_OFF, &check, sizeof(check), 0) < 0)
		return -1;
	addr_from_ipv4(&p->orig_addr, option.addr);
	p->orig_port = option.port;
	p->l4_off -= sizeof(option);
	return 1;
}

inline_fn int dsr_take_ipv6(struct __sk_buff *skb, struct packet *p)
{
	struct dsr_ipv6 option;

	if (p->l4_off != L3_OFF + sizeof(struct ipv6hdr) + sizeof(option))
		return 0;
	if (bpf_skb_load_bytes(skb, L3_OFF + sizeof(struct ipv6hdr), &option, sizeof(option)) < 0 ||
	    option.hdrlen != sizeof(option) / 8 - 1 || option.type != DSR_IPV6_OPTION || option.nexthdr != p->tuple.proto)
		return 0;
	if (bpf_skb_adjust_room(skb, -(int)sizeof(option), BPF_ADJ_ROOM_NET, 0) < 0 ||
	    dsr_resize_ipv6(skb, p->tuple.proto, -(int)sizeof(option)) < 0)
		return -1;
	p->orig_addr = option.addr;
	p->orig_port = option.port;
	p->l4_off -= sizeof(option);
	return 1;
}

/* On the backend's node, for a packet to one of its pods: remembers the frontend for the replies. 0 or DROPPED. */
noinline_fn int dsr_learn(struct __sk_buff *skb, struct packet *p)
{
	const struct ct_entry *entry;
	int ret;

	if (!has_ports(p->tuple.proto) || p->fragment)
		return 0;
	ret = p->ipv6 ? dsr_take_ipv6(skb, p) : dsr_take_ipv4(skb, p);
	if (ret <= 0)
		return ret < 0 ? DROP(p, DROP_WRITE_ERROR) : 0;
	p->orig_end = ORIG_DESTINATION;
	p->service_flags = SERVICE_DSR;
	entry = service_connection(p);
	/* A connection that came directly is not made a service's. */
	if ((p->ct_state != CT_STATE_NEW && entry && !(entry->flags & CT_SERVICE)) || !service_claim(p))
		return DROP(p, DROP_NAT_NO_MAPPING);
	p->service = SERVICE_TO_BACKEND;
	return 0;
}
