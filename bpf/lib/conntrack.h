/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Connection tracking: one entry per connection, one lookup per packet, whichever way it goes.
 *
 * - A hit is changed in place, never written through the update helper, and only fields that differ are stored.
 * - What is past `expires` counts as absent, whether the agent has deleted it yet or not.
 * - The order of use is ct_lookup, policy, then ct_commit: a denied packet leaves no trace in the table.
 */
#pragma once

#include "clock.h"
#include "icmp-inner.h"

#undef SOURCE_FILE
#define SOURCE_FILE SOURCE_CONNTRACK

#define CT_CLOSING (CT_CLOSING_ORIGIN | CT_CLOSING_REPLY)

/*
 * Ends are ordered by address (its last 8 bytes, then its first, as host-order words), then by port. Any total order would do;
 * this one decides most IPv4 pairs with one compare. Returns whether the source is end b.
 */
inline_fn bool ct_key_of(const struct tuple *t, struct ct_key *key)
{
	const __u64 *s = (const __u64 *)&t->saddr;
	const __u64 *d = (const __u64 *)&t->daddr;
	bool source_is_b = s[1] != d[1] ? s[1] > d[1] : s[0] != d[0] ? s[0] > d[0] : t->sport > t->dport;
	__u64 *a = (__u64 *)&key->a;
	__u64 *b = (__u64 *)&key->b;

	if (source_is_b) {
		a[0] = d[0];
		a[1] = d[1];
		b[0] = s[0];
		b[1] = s[1];
		key->port_a = t->dport;
		key->port_b = t->sport;
	} else {
		a[0] = s[0];
		a[1] = s[1];
		b[0] = d[0];
		b[1] = d[1];
		key->port_a = t->sport;
		key->port_b = t->dport;
	}
	key->proto = t->proto;
	return source_is_b;
}

inline_fn enum ct_dir ct_dir_of(const struct ct_entry *entry, bool source_is_b)
{
	return !!(entry->flags & CT_ORIGIN_B) == source_is_b ? CT_DIR_ORIGIN : CT_DIR_REPLY;
}

/* Is the packet an ICMP error about a connection we know? */
noinline_fn bool ct_related(struct __sk_buff *skb, struct packet *p, __u32 now)
{
	struct inner inner = {};
	struct ct_key key = {};
	const struct ct_entry *entry;
	bool source_is_b;

	if (parse_inner(skb, p, &inner) < 0)
		return false;
	/* The error goes back to who sent the packet inside. */
	if (!addr_equal(&inner.tuple.saddr, &p->tuple.daddr))
		return false;
	source_is_b = ct_key_of(&inner.tuple, &key);
	entry = bpf_map_lookup_elem(&conntrack, &key);
	if (!entry || entry->expires <= now)
		return false;
	if (entry->flags & CT_SERVICE && ct_dir_of(entry, source_is_b) == CT_DIR_ORIGIN)
		p->service = SERVICE_ERROR_TO_CLIENT;
	return true;
}

inline_fn bool ct_protocol_known(const struct packet *p)
{
	return has_ports(p->tuple.proto) || p->tuple.proto == (p->ipv6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP);
}

/*
 * The connection of a packet that is no error. Sets p->ct_state, p->ct_key and p->now, and p->service for what comes from a service's
 * backend. There may be an entry although the state is new: it is stale and ct_commit takes it over.
 */
inline_fn struct ct_entry *ct_find(struct packet *p)
{
	struct ct_entry *entry;

	p->now = clock_seconds();
	p->ct_state = CT_STATE_NEW;
	p->source_is_b = ct_key_of(&p->tuple, &p->ct_key);
	entry = bpf_map_lookup_elem(&conntrack, &p->ct_key);
	if (!entry || entry->expires <= p->now)
		return entry;
	/* The port pair is used again before the old connection is forgotten. */
	if (entry->flags & CT_CLOSING && (p->tcp_flags & (TCP_FLAG_SYN | TCP_FLAG_ACK)) == TCP_FLAG_SYN)
		return entry;
	if (ct_dir_of(entry, p->source_is_b) == CT_DIR_ORIGIN) {
		p->ct_state = CT_STATE_ESTABLISHED;
	} else {
		p->ct_state = CT_STATE_REPLY;
		if (entry->flags & CT_SERVICE)
			p->service = SERVICE_TO_CLIENT;
	}
	return entry;
}

/* ct_find for any packet. May be DROPPED. */
inline_fn int ct_lookup(struct __sk_buff *skb, struct packet *p, struct ct_entry **found)
{
	*found = NULL;
	if (!ct_protocol_known(p)) {
		p->ct_state = CT_STATE_NEW;
		return DROP(p, DROP_CT_UNKNOWN_PROTO);
	}
	if (icmp_is_error(p)) {
		p->now = clock_seconds();
		p->ct_state = ct_related(skb, p, p->now) ? CT_STATE_RELATED : CT_STATE_NEW;
		return 0;
	}
	*found = ct_find(p);
	return 0;
}

/* Flags that the packet adds. */
inline_fn __u16 ct_flags_of(const struct packet *p, enum ct_dir dir)
{
	__u16 flags = 0;

	if (dir == CT_DIR_REPLY)
		flags |= CT_SEEN_REPLY;
	if (p->tuple.proto == IPPROTO_TCP && !(p->tcp_flags & TCP_FLAG_SYN) && p->fragment != FRAGMENT_LATER)
		flags |= CT_ESTABLISHED;
	/* Not when the client answers a connection that the backend began: its own packets then go as they are. */
	if (p->service == SERVICE_TO_BACKEND && dir == CT_DIR_ORIGIN)
		flags |= CT_SERVICE;
	if (p->tcp_flags & TCP_FLAG_RST)
		flags |= CT_CLOSING;
	if (p->tcp_flags & TCP_FLAG_FIN)
		flags |= dir == CT_DIR_REPLY ? CT_CLOSING_REPLY : CT_CLOSING_ORIGIN;
	return flags;
}

inline_fn __u32 ct_timeout(const struct packet *p, __u16 flags)
{
	if ((flags & CT_CLOSING) == CT_CLOSING)
		return config.timeout_tcp_closing;
	if (p->tuple.proto != IPPROTO_TCP)
		return config.timeout_any;
	return flags & CT_ESTABLISHED ? config.timeout_tcp_established : config.timeout_tcp_syn;
}

/* Makes the entry of a new connection, in the place of a stale one if there is one. */
noinline_fn int ct_open(struct packet *p, struct ct_entry *stale)
{
	struct ct_entry entry = {
		.created = p->now,
		.flags = ct_flags_of(p, CT_DIR_ORIGIN) | (p->source_is_b ? CT_ORIGIN_B : 0),
		.tcp_flags = { p->tcp_flags, 0 },
		.src_identity = p->src_identity,
		.dst_identity = p->dst_identity,
		.policy_revision = { p->policy_revision[0], p->policy_revision[1] },
		.last_report = { p->now, 0 },
		.backend_id = p->backend_id,
	};

	if (p->src_identity == IDENTITY_HOST || p->dst_identity == IDENTITY_HOST)
		entry.flags |= CT_HOST;
	entry.expires = p->now + ct_timeout(p, entry.flags);
	if (stale) {
		*stale = entry;
		return 0;
	}
	if (bpf_map_update_elem(&conntrack, &p->ct_key, &entry, BPF_ANY) < 0)
		return DROP(p, DROP_CT_CREATE_FAILED);
	return 0;
}

/* Brings the entry up to date with a packet that passed policy. Returns whether a trace event is due. */
inline_fn bool ct_update(const struct packet *p, struct ct_entry *entry)
{
	enum ct_dir dir = p->ct_state == CT_STATE_REPLY ? CT_DIR_REPLY : CT_DIR_ORIGIN;
	__u16 flags = entry->flags | ct_flags_of(p, dir);
	__u8 *tcp_flags = dir == CT_DIR_REPLY ? &entry->tcp_flags[1] : &entry->tcp_flags[0];
	__u16 *last_report = dir == CT_DIR_REPLY ? &entry->last_report[1] : &entry->last_report[0];
	__u32 expires = p->now + ct_timeout(p, flags);
	__u8 signs = p->tcp_flags & config.trace_flags;
	/* The first answer. */
	bool due = flags & ~entry->flags & CT_SEEN_REPLY;

	if (entry->flags != flags)
		entry->flags = flags;
	if (entry->expires != expires)
		entry->expires = expires;
	if (signs & ~*tcp_flags) {
		*tcp_flags |= p->tcp_flags;
		due = true;
	}
	if ((__u16)(p->now - *last_report) >= config.trace_interval)
		due = true;
	if (due)
		*last_report = p->now;
	return due;
}

/* DROPPED, or whether a trace event is due. */
inline_fn int ct_commit(struct packet *p, struct ct_entry *entry)
{
	int ret;

	if (icmp_is_error(p))
		return 1;
	if (p->ct_state == CT_STATE_NEW) {
		ret = ct_open(p, entry);
		return ret < 0 ? ret : 1;
	}
	/* NULL only in the eyes of the verifier: other states come from an entry. */
	return entry ? ct_update(p, entry) : 0;
}
