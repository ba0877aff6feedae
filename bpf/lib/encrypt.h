/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Encryption between nodes: who needs it, and nobody past it.
 *
 * - WireGuard: what leaves a native device for a destination with a key is handed to cilium_wg0 there, the last place before the wire.
 *   Tunnels wrap first; their packet then goes from node to node.
 * - IPsec: the stack encrypts what is marked. A pod's packet to a destination with a key that comes to a native device in clear is dropped.
 * - Strict mode: between pods nothing leaves in clear, also while nothing is known of the other end but that its address is a pod's.
 */
#pragma once

#include "delivery.h"
#include "mark.h"

#undef SOURCE_FILE
#define SOURCE_FILE SOURCE_ENCRYPT

#define IPPROTO_ESP_NUMBER 50

/* May `identity` at `addr` be a pod's? Of an address that is not known (yet) the CIDRs of pods decide. */
inline_fn bool may_be_pod(const struct packet *p, __u32 identity, const struct addr *addr)
{
	if (identity_is_node(identity))
		return false;
	return !identity_is_world(identity) || cidr_contains(p->ipv6 ? &config.strict_ipv6 : &config.strict_ipv4, addr);
}

/* Would it go in clear although strict mode forbids it? Identities are in p. */
inline_fn bool is_forbidden_in_clear(const struct packet *p)
{
	return config.encryption_strict && may_be_pod(p, p->src_identity, &p->tuple.saddr) &&
	       may_be_pod(p, p->dst_identity, &p->tuple.daddr);
}

inline_fn const struct device *device_of(__u32 role)
{
	return bpf_map_lookup_elem(&devices, &role);
}

inline_fn int to_wireguard(struct __sk_buff *skb, struct packet *p)
{
	const struct device *wireguard = device_of(DEVICE_WIREGUARD);

	if (!wireguard)
		return DROP(p, DROP_UNENCRYPTED_TRAFFIC);
	trace_to(skb, p, TRACE_TO_CRYPTO, wireguard->ifindex, false);
	return bpf_redirect(wireguard->ifindex, 0);
}

/* XFRM's mark for what goes to the node p->tunnel_endpoint. 0: there is no such node. */
inline_fn __u32 mark_of_ipsec(const struct packet *p)
{
	const struct node *node = bpf_map_lookup_elem(&nodes, &p->tunnel_endpoint);
	__u32 key;

	if (!node)
		return 0;
	/* The node's comes first: with a new key one row changes, not one for each of its pods. */
	key = node->encrypt_key ? node->encrypt_key : p->encrypt_key;
	return MARK_ENCRYPT | (key & 0xf) << MARK_KEY_SHIFT | (__u32)node->node_id << MARK_NODE_SHIFT;
}

/* Mark of a tunnel's packet, before it is wrapped; its key holds the identity. 0: it must not go, p says why. */
noinline_fn __u32 mark_of_wrapped(struct packet *p)
{
	__u32 mark;

	if (config.encryption == ENCRYPTION_NONE || !p->encrypt_key) {
		if (!is_forbidden_in_clear(p))
			return MARK_OVERLAY | mark_of_identity(p->tunnel_key.tunnel_id);
		DROP(p, DROP_UNENCRYPTED_TRAFFIC);
		return 0;
	}
	if (config.encryption == ENCRYPTION_WIREGUARD)
		return MARK_ENCRYPT;
	mark = mark_of_ipsec(p);
	if (!mark)
		DROP(p, DROP_NO_NODE_ID);
	return mark;
}

/* Wrapped or encrypted by us, or about to be. */
inline_fn bool is_wrapped(const struct __sk_buff *skb)
{
	if (config.tunnel == TUNNEL_NONE && config.encryption == ENCRYPTION_NONE)
		return false;
	return (skb->mark & MARK_MASK) == MARK_ENCRYPT || (skb->mark & MARK_MASK) == MARK_OVERLAY;
}

/* At a native device. TC_ACT_OK, a verdict or DROPPED. */
inline_fn int send_wrapped(struct __sk_buff *skb, struct packet *p)
{
	if ((skb->mark & MARK_MASK) == MARK_OVERLAY || config.encryption == ENCRYPTION_NONE)
		return TC_ACT_OK;
	if (config.encryption == ENCRYPTION_WIREGUARD)
		return (skb->mark & MARK_WIREGUARD_MASK) == MARK_WIREGUARD ? TC_ACT_OK : to_wireguard(skb, p);
	pull_headers(skb);
	if (parse_ip(skb, p) < 0)
		return DROPPED;
	return p->tuple.proto == IPPROTO_ESP_NUMBER ? TC_ACT_OK : DROP(p, DROP_UNENCRYPTED_TRAFFIC);
}

/* What is about to leave a native device as it is. 0: it may, else a verdict or DROPPED. */
noinline_fn int encrypt_egress(struct __sk_buff *skb, struct packet *p)
{
	bool is_node, is_pod;

	look_up_destination(p);
	p->src_identity = identity_of(p, &p->tuple.saddr);
	is_node = p->src_identity == IDENTITY_HOST;
	is_pod = !identity_is_node(p->src_identity) && !identity_is_world(p->src_identity);
	if (p->encrypt_key && config.encryption == ENCRYPTION_WIREGUARD && (is_pod || (is_node && config.node_encryption)))
		return to_wireguard(skb, p);
	if ((p->encrypt_key && config.encryption == ENCRYPTION_IPSEC && is_pod) || is_forbidden_in_clear(p))
		return DROP(p, DROP_UNENCRYPTED_TRAFFIC);
	return 0;
}

/* A pod's packet that the stack is to encrypt on its way. */
noinline_fn int to_xfrm(struct __sk_buff *skb, struct packet *p, bool due)
{
	__u32 mark = mark_of_ipsec(p);

	if (!mark)
		return DROP(p, DROP_NO_NODE_ID);
	skb->mark = mark;
	return to_stack(skb, p, TRACE_TO_CRYPTO, due);
}

/* An ESP packet to this node: the mark says whose it is. One of a node that is not known is somebody else's. */
inline_fn bool is_for_xfrm(struct __sk_buff *skb, const struct packet *p)
{
	const struct node *node;

	if (config.encryption != ENCRYPTION_IPSEC || p->tuple.proto != IPPROTO_ESP_NUMBER)
		return false;
	node = bpf_map_lookup_elem(&nodes, &p->tuple.saddr);
	if (node)
		skb->mark = MARK_DECRYPT | (__u32)node->node_id << MARK_NODE_SHIFT;
	return true;
}
