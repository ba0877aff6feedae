/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Policy of one endpoint in one direction towards one peer identity.
 *
 * - Replies and related errors pass; forward packets are checked, through the revision noted in the conntrack entry mostly for free.
 * - The revision is read before the policy is looked up: what was looked up in a policy that changes meanwhile is checked again.
 * - An endpoint that does not enforce a direction allows everything in it.
 */
#pragma once

#include "conntrack.h"
#include "events.h"

#undef SOURCE_FILE
#define SOURCE_FILE SOURCE_POLICY

/* Bits of protocol and port. */
#define POLICY_PREFIX_PROTO 8
#define POLICY_PREFIX_FULL 24

inline_fn bool policy_better(const struct policy_entry *x, const struct policy_entry *y)
{
	if (x->precedence != y->precedence)
		return x->precedence > y->precedence;
	return x->prefixlen >= y->prefixlen;
}

inline_fn __u8 policy_match_of(const struct policy_entry *entry, bool any_identity)
{
	if (entry->prefixlen == 0)
		return any_identity ? POLICY_MATCH_ALL : POLICY_MATCH_L3_ONLY;
	if (entry->prefixlen <= POLICY_PREFIX_PROTO)
		return any_identity ? POLICY_MATCH_PROTO_ONLY : POLICY_MATCH_L3_PROTO;
	return any_identity ? POLICY_MATCH_L4_ONLY : POLICY_MATCH_L3_L4;
}

/* Not inlined: the types in its signature are how clang comes to put them into BTF. */
noinline_fn const struct policy_entry *policy_lookup(void *inner, const struct policy_key *key)
{
	return bpf_map_lookup_elem(inner, key);
}

/* 0 or a drop reason; notes in p what matched. */
inline_fn int policy_find(struct packet *p, __u32 endpoint_id, __u8 direction, __u32 identity)
{
	struct policy_key key = {
		.prefixlen = POLICY_PREFIX_BASE + POLICY_PREFIX_FULL,
		.identity = identity,
		.direction = direction,
		.proto = p->tuple.proto,
		.dport = p->policy_port,
	};
	const struct policy_entry *exact, *any, *best;
	void *inner = bpf_map_lookup_elem(&policy, &endpoint_id);

	p->policy_match = POLICY_MATCH_NONE;
	p->policy_cookie = 0;
	if (!inner)
		return DROP_NO_CONFIG;
	exact = policy_lookup(inner, &key);
	key.identity = 0;
	any = policy_lookup(inner, &key);
	if (exact && any)
		best = policy_better(exact, any) ? exact : any;
	else
		best = exact ? exact : any;
	if (!best) {
		/* The node's own reach of its pods has the lowest precedence of all: an explicit deny wins. */
		if (config.allow_localhost && direction == DIRECTION_INGRESS && identity == IDENTITY_HOST)
			return 0;
		return DROP_POLICY;
	}
	p->policy_match = policy_match_of(best, best == any);
	p->policy_cookie = best->cookie;
	if (best->flags & POLICY_DENY)
		return DROP_POLICY_DENY;
	if (best->proxy_port)
		return DROP_PROXY_UNSUPPORTED_PROTO;
	return 0;
}

/* The revision that a check of this endpoint's policy is good for. 0: for this packet only. */
inline_fn __u32 policy_revision_of(const struct endpoint *endpoint)
{
	__u32 index = 0;
	const volatile __u32 *node = bpf_map_lookup_elem(&policy_revision, &index);

	return endpoint->policy_revision && node ? endpoint->policy_revision + *node : 0;
}

/* The full check, with its event for new connections and denials. 0 or DROPPED. */
noinline_fn int policy_check(struct __sk_buff *skb, struct packet *p, const struct endpoint *endpoint, __u8 direction,
			    __u32 identity)
{
	int reason = policy_find(p, endpoint->id, direction, identity);
	__u8 packet_direction = p->direction;
	__u32 packet_endpoint = p->endpoint_id;
	bool audit = reason && endpoint->flags & ENDPOINT_POLICY_AUDIT;

	p->direction = direction;
	p->endpoint_id = endpoint->id;
	p->policy_reason = reason;
	if (p->ct_state == CT_STATE_NEW || reason)
		emit(skb, p, EVENT_POLICY_VERDICT,
		     audit ? POLICY_ACTION_AUDIT : reason ? POLICY_ACTION_DENY : POLICY_ACTION_ALLOW, skb->ifindex);
	if (reason && !audit)
		return DROP(p, reason);
	p->policy_match = 0;
	p->policy_reason = 0;
	p->policy_cookie = 0;
	p->direction = packet_direction;
	p->endpoint_id = packet_endpoint;
	return 0;
}

inline_fn bool is_frag_needed(const struct packet *p)
{
	if (!icmp_is_error(p))
		return false;
	if (p->ipv6)
		return p->icmp_type == ICMPV6_PKT_TOOBIG;
	return p->icmp_type == ICMP_DEST_UNREACH && p->icmp_code == ICMP_FRAG_NEEDED;
}

/* 0 or DROPPED. `entry` as ct_lookup found it. */
inline_fn int policy_apply(struct __sk_buff *skb, struct packet *p, const struct endpoint *endpoint, __u8 direction,
			   struct ct_entry *entry)
{
	__u32 peer = direction == DIRECTION_EGRESS ? p->dst_identity : p->src_identity;
	__u32 revision;
	int ret;

	if (!(endpoint->flags & (direction == DIRECTION_EGRESS ? ENDPOINT_ENFORCE_EGRESS : ENDPOINT_ENFORCE_INGRESS)))
		return 0;
	if (p->ct_state != CT_STATE_NEW && p->ct_state != CT_STATE_ESTABLISHED)
		return 0;
	revision = policy_revision_of(endpoint);
	if (entry && p->ct_state == CT_STATE_ESTABLISHED && revision && entry->policy_revision[direction] == revision &&
	    (direction == DIRECTION_EGRESS ? entry->dst_identity : entry->src_identity) == peer)
		return 0;
	if (config.allow_icmp_frag_needed && is_frag_needed(p))
		return 0;
	ret = policy_check(skb, p, endpoint, direction, peer);
	if (ret < 0)
		return ret;
	p->policy_revision[direction] = revision;
	if (entry && p->ct_state == CT_STATE_ESTABLISHED) {
		entry->policy_revision[direction] = revision;
		if (direction == DIRECTION_EGRESS)
			entry->dst_identity = peer;
		else
			entry->src_identity = peer;
	}
	return 0;
}
