/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Fragments: the first one leaves its ports for the later ones, which have none. */
#pragma once

#include "counters.h"

#undef SOURCE_FILE
#define SOURCE_FILE SOURCE_FRAGMENT

noinline_fn int fragment_ports(struct packet *p)
{
	struct fragment_key key = {
		.saddr = p->tuple.saddr,
		.daddr = p->tuple.daddr,
		.id = p->fragment_id,
		.proto = p->tuple.proto,
	};
	struct fragment_ports *known;

	if (p->fragment == FRAGMENT_FIRST) {
		struct fragment_ports ports = {
			.sport = p->tuple.sport,
			.dport = p->tuple.dport,
			.policy_port = p->policy_port,
		};

		/* Without the entry the later fragments are dropped, and say so. */
		bpf_map_update_elem(&fragments, &key, &ports, BPF_ANY);
		return 0;
	}
	known = bpf_map_lookup_elem(&fragments, &key);
	if (!known)
		return DROP(p, DROP_FRAG_NOT_FOUND);
	p->tuple.sport = known->sport;
	p->tuple.dport = known->dport;
	p->policy_port = known->policy_port;
	return 0;
}

inline_fn int fragment_track(struct __sk_buff *skb, struct packet *p)
{
	if (!p->fragment)
		return 0;
	count_bytes(skb->len, REASON_FRAGMENTED_PACKET, p->direction);
	return fragment_ports(p);
}
