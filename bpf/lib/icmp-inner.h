/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The packet that an ICMP error is about, of which it carries the head. */
#pragma once

#include "parse.h"

/* Of the family of the outer packet, behind the 8 bytes of the ICMP header. Negative: not to be understood. */
noinline_fn int parse_inner(struct __sk_buff *skb, const struct packet *p, struct inner *inner)
{
	struct ipv6_chain chain = {};
	union l4_header h = {};
	struct ipv6hdr ip6;
	struct iphdr ip;

	inner->l3_off = p->l4_off + 8;
	if (p->ipv6) {
		if (bpf_skb_load_bytes(skb, inner->l3_off, &ip6, sizeof(ip6)) < 0 || ip6.version != 6)
			return -1;
		__builtin_memcpy(&inner->tuple.saddr, &ip6.saddr, sizeof(struct addr));
		__builtin_memcpy(&inner->tuple.daddr, &ip6.daddr, sizeof(struct addr));
		chain.off = inner->l3_off + sizeof(ip6);
		chain.proto = ip6.nexthdr;
		if (ipv6_walk(skb, &chain) < 0 || chain.fragment == FRAGMENT_LATER)
			return -1;
	} else {
		if (bpf_skb_load_bytes(skb, inner->l3_off, &ip, sizeof(ip)) < 0 || ip.version != 4 || ip.ihl < 5)
			return -1;
		if (ip.frag_off & bpf_htons(IPV4_FRAGMENT_OFFSET))
			return -1;
		addr_from_ipv4(&inner->tuple.saddr, ip.saddr);
		addr_from_ipv4(&inner->tuple.daddr, ip.daddr);
		chain.off = inner->l3_off + ip.ihl * 4;
		chain.proto = ip.protocol;
	}
	inner->tuple.proto = chain.proto;
	inner->l4_off = chain.off;
	/* RFC 792 promises 8 bytes of it, no more. */
	if (bpf_skb_load_bytes(skb, inner->l4_off, &h, 8) < 0)
		return -1;
	if (has_ports(chain.proto)) {
		inner->tuple.sport = h.sport;
		inner->tuple.dport = h.dport;
	} else if (is_icmp(chain.proto) && !icmp_type_is_error(chain.proto, h.icmp.type)) {
		icmp_ports(&h, &inner->tuple);
	} else {
		return -1;
	}
	return 0;
}
