/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Masquerading: pods reach the world under the address of the native device.
 *
 * - A flow has two entries. The ingress one is the claim on (node address, port, remote end) and is made first, with
 *   BPF_NOEXIST, so two flows never share a port towards one remote end.
 * - The source port is kept if it is in range and free, else a random one of the range is taken.
 * - The node's own flows whose source port is in the range claim it in the same way, so that neither takes the other's replies.
 * - SCTP keeps its port or is dropped: its CRC32c covers the port.
 * - Flows that began while it was on go on when it is off; a flow that began without it is not spared once it is on.
 */
#pragma once

#include "conntrack.h"
#include "fragment.h"
#include "ipcache.h"
#include "nat-rewrite.h"

#undef SOURCE_FILE
#define SOURCE_FILE SOURCE_NAT

#define NAT_PORT_RETRIES 32
/* s between two looks of an outgoing flow at its ingress entry, which LRU eviction may have taken. */
#define NAT_VERIFY_INTERVAL 5

/* ---- ICMP errors: the packet inside is translated too ---- */

/* The key of the flow that the inner packet of an error belongs to, as seen in the direction opposite to the inner packet. */
inline_fn void nat_key_of_inner(const struct inner *inner, __u8 direction, struct nat_key *key)
{
	key->saddr = inner->tuple.daddr;
	key->daddr = inner->tuple.saddr;
	key->sport = inner->tuple.dport;
	key->dport = inner->tuple.sport;
	key->proto = inner->tuple.proto;
	key->direction = direction;
}

/* An error that leaves (egress) or comes in (ingress) about a masqueraded flow: 1. One about another flow passes as it is: 0. */
noinline_fn int nat_error(struct __sk_buff *skb, struct packet *p, __u8 direction)
{
	struct inner inner = {};
	struct nat_key key = {};
	const struct nat_entry *entry;

	if (parse_inner(skb, p, &inner) < 0)
		return 0;
	nat_key_of_inner(&inner, direction, &key);
	entry = bpf_map_lookup_elem(&nat, &key);
	if (!entry)
		return 0;
	return nat_rewrite_error(skb, p, &inner, direction == DIRECTION_INGRESS ? INNER_SOURCE : INNER_DESTINATION, entry);
}

/* ---- egress ---- */

inline_fn void nat_key_of(const struct packet *p, __u8 direction, struct nat_key *key)
{
	key->saddr = p->tuple.saddr;
	key->daddr = p->tuple.daddr;
	key->sport = p->tuple.sport;
	key->dport = p->tuple.dport;
	key->proto = p->tuple.proto;
	key->direction = direction;
}

/* Makes the claim on (node address, port, remote end) for the flow, or finds that the flow has it already. */
noinline_fn bool nat_claim(const struct packet *p, const struct addr *node, __be16 port)
{
	struct nat_key key = {
		.saddr = p->tuple.daddr,
		.daddr = *node,
		.sport = p->tuple.dport,
		.dport = port,
		.proto = p->tuple.proto,
		.direction = DIRECTION_INGRESS,
	};
	struct nat_entry claim = {
		.addr = p->tuple.saddr,
		.port = p->tuple.sport,
		.created = p->now,
		.verified = p->now,
	};
	const struct nat_entry *owner;

	if (bpf_map_update_elem(&nat, &key, &claim, BPF_NOEXIST) == 0)
		return true;
	owner = bpf_map_lookup_elem(&nat, &key);
	return owner && owner->port == p->tuple.sport && addr_equal(&owner->addr, &p->tuple.saddr);
}

inline_fn bool nat_port_in_range(__be16 port)
{
	__u16 host = bpf_ntohs(port);

	return host >= config.nat_port_min && host <= config.nat_port_max;
}

/* Any port of the range. */
inline_fn __be16 nat_random_port(void)
{
	__u32 range = (__u32)config.nat_port_max - config.nat_port_min + 1;

	return bpf_htons(config.nat_port_min + bpf_get_prandom_u32() % range);
}

/* Claims a random port. 0: none of those tried was free. */
noinline_fn __be16 nat_claim_random(const struct packet *p, const struct addr *node)
{
	struct nat_key key = {
		.saddr = p->tuple.daddr,
		.daddr = *node,
		.sport = p->tuple.dport,
		.proto = p->tuple.proto,
		.direction = DIRECTION_INGRESS,
	};
	struct nat_entry claim = {
		.addr = p->tuple.saddr,
		.port = p->tuple.sport,
		.created = p->now,
		.verified = p->now,
	};

	for (int i = 0; i < NAT_PORT_RETRIES; i++) {
		key.dport = nat_random_port();
		if (bpf_map_update_elem(&nat, &key, &claim, BPF_NOEXIST) == 0)
			return key.dport;
	}
	return 0;
}

/* Finds a port for a new flow and writes both entries; *to says what the source becomes. */
inline_fn int nat_allocate(struct packet *p, const struct addr *node, const struct nat_key *key, struct nat_entry *to)
{
	bool fixed = p->tuple.proto == IPPROTO_SCTP;
	__be16 port = p->tuple.sport;

	if (!(fixed || nat_port_in_range(port)) || !nat_claim(p, node, port))
		port = fixed ? 0 : nat_claim_random(p, node);
	if (!port)
		return fixed ? DROP(p, DROP_NAT_UNSUPPORTED_PROTO) : DROP(p, DROP_NAT_NO_MAPPING);
	*to = (struct nat_entry){ .addr = *node, .port = port, .created = p->now, .verified = p->now };
	if (bpf_map_update_elem(&nat, key, to, BPF_ANY) < 0)
		return DROP(p, DROP_NAT_NO_MAPPING);
	return 0;
}

/* Is a known mapping still good? Its ingress half may have been evicted, or the node's address may have changed. */
inline_fn bool nat_verify(const struct packet *p, const struct addr *node, struct nat_entry *entry)
{
	if (!addr_equal(&entry->addr, node))
		return false;
	if (p->now - entry->verified < NAT_VERIFY_INTERVAL)
		return true;
	if (!nat_claim(p, node, entry->port))
		return false;
	entry->verified = p->now;
	return true;
}

/* A service's connection from outside goes on to another node under this one's address, p->node. 0 or DROPPED. */
noinline_fn int nat_service(struct packet *p, const struct addr *node)
{
	struct nat_key key = {};
	struct nat_entry *entry;

	nat_key_of(p, DIRECTION_EGRESS, &key);
	entry = bpf_map_lookup_elem(&nat, &key);
	if (entry && nat_verify(p, node, entry)) {
		p->node = *entry;
		return 0;
	}
	if (addr_is_zero(node))
		return DROP(p, DROP_NAT_NO_MAPPING);
	return nat_allocate(p, node, &key, &p->node);
}

/* Did the other end begin the connection? Then its packets go back under the address they came to. */
inline_fn bool nat_is_reply(struct packet *p)
{
	const struct ct_entry *entry;
	bool source_is_b = ct_key_of(&p->tuple, &p->ct_key);

	entry = bpf_map_lookup_elem(&conntrack, &p->ct_key);
	return entry && entry->expires > p->now && ct_dir_of(entry, source_is_b) == CT_DIR_REPLY;
}

inline_fn bool cidr_contains(const volatile struct cidr *cidr, const struct addr *addr)
{
	__u32 bits = cidr->prefixlen;
	__u32 diff = 0;

	if (bits == 0)
		return false;
	for (int i = 0; i < 4; i++) {
		__u32 word_bits = bits < 32 ? bits : 32;
		__u32 mask = word_bits ? ~0U << (32 - word_bits) : 0;

		diff |= (cidr->addr.w[i] ^ addr->w[i]) & bpf_htonl(mask);
		bits -= word_bits;
	}
	return diff == 0;
}

inline_fn bool nat_protocol_known(const struct packet *p)
{
	if (has_ports(p->tuple.proto))
		return true;
	/* Only echoes have what can be translated; a later fragment was one if its ports are known. */
	return is_icmp(p->tuple.proto) && (p->tuple.sport || p->tuple.dport);
}

/* A packet of a pod (or of the node, from a port of the range) that may have to be masqueraded. 1: it was, 0: it need not be. */
noinline_fn int nat_egress_flow(struct __sk_buff *skb, struct packet *p, const struct addr *node, bool is_node)
{
	struct nat_entry *entry;
	struct nat_key key = {};
	struct nat_entry to;
	int ret;

	p->now = clock_seconds();
	nat_key_of(p, DIRECTION_EGRESS, &key);
	entry = bpf_map_lookup_elem(&nat, &key);
	if (entry && nat_verify(p, node, entry)) {
		to = *entry;
	} else {
		if (!is_masquerading(p))
			return 0;
		p->dst_identity = identity_of(p, &p->tuple.daddr);
		if (!identity_is_world(p->dst_identity))
			return 0;
		if (!is_node && nat_is_reply(p))
			return 0;
		if (addr_is_zero(node))
			return DROP(p, DROP_NAT_NO_MAPPING);
		if (!nat_protocol_known(p))
			return DROP(p, DROP_NAT_UNSUPPORTED_PROTO);
		ret = nat_allocate(p, node, &key, &to);
		if (ret < 0)
			return ret;
		p->ct_state = CT_STATE_NEW;
	}
	p->orig_addr = p->tuple.saddr;
	p->orig_port = p->tuple.sport;
	p->orig_end = ORIG_SOURCE;
	ret = nat_rewrite(skb, p, true, &to);
	return ret < 0 ? ret : !is_node;
}

/* For every packet that leaves a native device. 1: it was masqueraded, 0: not, DROPPED. */
inline_fn int nat_egress(struct __sk_buff *skb, struct packet *p, const struct netdev *netdev)
{
	const struct addr *node = p->ipv6 ? &netdev->ipv6 : &netdev->ipv4;
	const struct endpoint *endpoint;
	bool is_node = addr_equal(&p->tuple.saddr, node);
	int ret;

	if (icmp_is_error(p)) {
		ret = nat_error(skb, p, DIRECTION_EGRESS);
		return ret < 0 ? ret : 0;
	}
	if (is_node) {
		if (!nat_port_in_range(p->tuple.sport) || !nat_protocol_known(p) || p->fragment == FRAGMENT_LATER)
			return 0;
	} else {
		endpoint = endpoint_of(&p->tuple.saddr);
		if (!endpoint)
			return 0;
		p->endpoint_id = endpoint->id;
		p->src_identity = endpoint->identity;
	}
	if (cidr_contains(p->ipv6 ? &config.native_routing_ipv6 : &config.native_routing_ipv4, &p->tuple.daddr))
		return 0;
	ret = fragment_track(skb, p);
	if (ret < 0)
		return ret;
	return nat_egress_flow(skb, p, node, is_node);
}

/* For packets to the node's own address. 1: translated, the destination may be a pod now; 0: not ours, DROPPED. */
inline_fn int nat_ingress(struct __sk_buff *skb, struct packet *p)
{
	struct nat_key key = {};
	const struct nat_entry *entry;
	int ret;

	if (icmp_is_error(p))
		return nat_error(skb, p, DIRECTION_INGRESS);
	/* Fragments of a datagram that is not ours to translate are none of our business either. */
	if (p->fragment == FRAGMENT_LATER && fragment_ports(p) < 0)
		return 0;
	if (!nat_port_in_range(p->tuple.dport) && p->tuple.proto != IPPROTO_SCTP)
		return 0;
	nat_key_of(p, DIRECTION_INGRESS, &key);
	entry = bpf_map_lookup_elem(&nat, &key);
	if (!entry)
		return 0;
	if (p->fragment == FRAGMENT_FIRST)
		fragment_ports(p);
	ret = nat_rewrite(skb, p, false, entry);
	return ret < 0 ? ret : 1;
}
