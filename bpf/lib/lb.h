/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Services in packets: to the backend on the way there, from the frontend on the way back.
 *
 * - The way back needs only the connection's entry in `service_flows`, never the service.
 * - Fragments of SCTP keep their port or are dropped: its CRC32c covers the port, and all that is in the other fragments.
 */
#pragma once

#include "lb-flow.h"
#include "mark.h"
#include "nat.h"

#undef SOURCE_FILE
#define SOURCE_FILE SOURCE_LB_CHOICE

/* Puts into the packet what service_select chose. 0 or DROPPED. */
noinline_fn int service_rewrite(struct __sk_buff *skb, struct packet *p)
{
	struct nat_entry to = { .addr = p->tuple.daddr, .port = p->tuple.dport };
	int ret;

	if (p->tuple.proto == IPPROTO_SCTP && p->fragment && to.port != p->orig_port)
		return DROP(p, DROP_NAT_UNSUPPORTED_PROTO);
	service_untarget(p);
	ret = nat_rewrite(skb, p, false, &to);
	if (ret < 0)
		return ret;
	p->policy_port = p->tuple.dport;
	if (!(p->service_flags & SERVICE_HAIRPIN))
		return 0;
	loopback_of(p, &to.addr);
	to.port = p->tuple.sport;
	return nat_rewrite(skb, p, true, &to);
}

/* A backend's packet: from the frontend, as the client knows it. */
noinline_fn int service_reply(struct __sk_buff *skb, struct packet *p)
{
	struct service_flow_key key = {};
	const struct service_flow *flow;
	struct nat_entry to = {};
	bool hairpin;
	int ret;

	service_key_of(&p->tuple, SERVICE_REPLY, &key);
	flow = bpf_map_lookup_elem(&service_flows, &key);
	/* Evicted: the client's next packet brings it back. */
	if (!flow)
		return DROP(p, DROP_NAT_NO_MAPPING);
	to.addr = flow->addr;
	to.port = flow->port;
	hairpin = flow->flags & SERVICE_HAIRPIN;
	p->orig_addr = p->tuple.saddr;
	p->orig_port = p->tuple.sport;
	p->orig_end = ORIG_SOURCE;
	if (p->tuple.proto == IPPROTO_SCTP && p->fragment && to.port != p->orig_port)
		return DROP(p, DROP_NAT_UNSUPPORTED_PROTO);
	ret = nat_rewrite(skb, p, true, &to);
	if (ret < 0 || !hairpin)
		return ret;
	to.addr = p->orig_addr;
	to.port = p->tuple.dport;
	return nat_rewrite(skb, p, false, &to);
}

inline_fn void service_key_of_inner(const struct inner *inner, __u8 direction, struct service_flow_key *key)
{
	key->saddr = inner->tuple.daddr;
	key->daddr = inner->tuple.saddr;
	key->sport = inner->tuple.dport;
	key->dport = inner->tuple.sport;
	key->proto = inner->tuple.proto;
	key->direction = direction;
}

/*
 * An ICMP error about a packet of a service's connection. SERVICE_REPLY: it goes to the client, the packet inside was for the backend.
 * SERVICE_FORWARD: it came to the frontend, the packet inside is from there; it goes on to the backend. 1: translated, 0: not of a
 * service, or DROPPED. Of a pod that reached itself both ends of the packet inside are translated: the backend knows the client by the
 * loopback address.
 */
noinline_fn int service_error(struct __sk_buff *skb, struct packet *p, __u8 direction)
{
	struct service_flow_key key = {};
	const struct service_flow *flow;
	struct nat_entry to = {};
	bool hairpin;
	int ret;

	__builtin_memset(&p->inner, 0, sizeof(p->inner));
	if (parse_inner(skb, p, &p->inner) < 0)
		return 0;
	service_key_of_inner(&p->inner, direction, &key);
	flow = bpf_map_lookup_elem(&service_flows, &key);
	if (!flow)
		return 0;
	hairpin = flow->flags & SERVICE_HAIRPIN;
	to.addr = flow->addr;
	to.port = flow->port;
	p->orig_addr = direction == SERVICE_REPLY ? p->tuple.saddr : p->tuple.daddr;
	p->orig_end = direction == SERVICE_REPLY ? ORIG_SOURCE : ORIG_DESTINATION;
	ret = nat_rewrite_error(skb, p, &p->inner, direction == SERVICE_FORWARD ? INNER_SOURCE : INNER_DESTINATION_ONLY, &to);
	if (ret < 0 || !hairpin)
		return ret;
	if (direction == SERVICE_FORWARD) {
		loopback_of(p, &to.addr);
		to.port = p->inner.tuple.dport;
		return nat_rewrite_error(skb, p, &p->inner, INNER_DESTINATION, &to);
	}
	to.addr = p->orig_addr;
	to.port = p->inner.tuple.sport;
	return nat_rewrite_error(skb, p, &p->inner, INNER_SOURCE, &to);
}

/* On the way to the client, last thing before it gets the packet. 0 or DROPPED. */
inline_fn int service_restore(struct __sk_buff *skb, struct packet *p)
{
	int ret;

	if (p->service == SERVICE_TO_CLIENT)
		return service_reply(skb, p);
	if (p->service != SERVICE_ERROR_TO_CLIENT)
		return 0;
	ret = service_error(skb, p, SERVICE_REPLY);
	return ret < 0 ? ret : 0;
}

/* Is it for the pod itself, which reached itself through a service? */
inline_fn bool service_is_hairpin_reply(const struct packet *p)
{
	struct addr loopback;

	if (p->service < SERVICE_TO_CLIENT)
		return false;
	loopback_of(p, &loopback);
	return addr_equal(&p->tuple.daddr, &loopback);
}

/*
 * Can this packet of a pod be a service's? Frontends are no addresses of pods. Not of a connection that has had an answer: one that began before the service was known
 * and was never answered may be.
 */
inline_fn bool service_possible(const struct packet *p, const struct ct_entry *entry)
{
	if (!config.services || identity_is_pod(p->dst_identity))
		return false;
	if (p->ct_state == CT_STATE_NEW)
		return true;
	return p->ct_state == CT_STATE_ESTABLISHED && entry && !(entry->flags & CT_SEEN_REPLY);
}
