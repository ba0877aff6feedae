/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Tunnels between nodes: VXLAN and Geneve on one device, the key of each packet says where to and who sent it.
 *
 * - The VNI is the identity of the source. Numbers that mean something on one node only go as world, the node itself goes as remote-node.
 * - What a VNI must not say (nobody, the node itself) is dropped. World is what the address is here: a CIDR that this node knows, or world.
 * - Only nodes speak to nodes by tunnel: who else sends to its port could say to be anybody (170).
 * - What is too long once wrapped goes to the stack unwrapped: it tells the sender, or cuts the packet, and its pieces come by from_host.
 */
#pragma once

#include "encrypt.h"

#undef SOURCE_FILE
#define SOURCE_FILE SOURCE_OVERLAY

/* Of struct bpf_tunnel_key, as Linux 5.10 knows it. */
#define TUNNEL_KEY_BYTES __builtin_offsetof(struct bpf_tunnel_key, local_ipv4)

inline_fn __u32 vni_of(__u32 identity)
{
	if (identity == IDENTITY_HOST)
		return IDENTITY_REMOTE_NODE;
	if (identity_is_world(identity) || identity >> IDENTITY_SCOPE_SHIFT)
		return IDENTITY_WORLD;
	return identity;
}

/* A datagram that the tunnel's device would take, if it is for a node. */
inline_fn bool is_tunnelled(const struct packet *p)
{
	return config.tunnel != TUNNEL_NONE && p->tuple.proto == IPPROTO_UDP && p->tuple.dport == bpf_htons(config.tunnel_port);
}

/* Reads the key of a packet that came through the tunnel. 0 or DROPPED. */
noinline_fn int overlay_identify(struct __sk_buff *skb, struct packet *p)
{
	struct bpf_tunnel_key *key = &p->tunnel_key;
	__u32 known;

	if (bpf_skb_get_tunnel_key(skb, key, TUNNEL_KEY_BYTES, 0) < 0 &&
	    bpf_skb_get_tunnel_key(skb, key, TUNNEL_KEY_BYTES, BPF_F_TUNINFO_IPV6) < 0)
		return DROP(p, DROP_NO_TUNNEL_KEY);
	if (key->tunnel_id == IDENTITY_UNKNOWN || key->tunnel_id == IDENTITY_HOST)
		return DROP(p, DROP_INVALID_IDENTITY);
	p->carried_identity = key->tunnel_id;
	if (identity_is_world(key->tunnel_id)) {
		known = identity_of(p, &p->tuple.saddr);
		p->carried_identity = identity_is_world(known) ? known : identity_world(p);
	} else if (key->tunnel_id == IDENTITY_REMOTE_NODE) {
		known = identity_of(p, &p->tuple.saddr);
		if (known != IDENTITY_HOST && identity_is_node(known))
			p->carried_identity = known;
	}
	p->src_identity = p->carried_identity;
	return 0;
}

inline_fn bool is_ipv4_mapped(const struct addr *x)
{
	return !(x->w[0] | x->w[1]) && x->w[2] == bpf_htonl(0xffff);
}

/* Is the destination on another node, behind the tunnel? */
inline_fn bool is_behind_tunnel(const struct packet *p)
{
	return config.tunnel != TUNNEL_NONE && !addr_is_zero(&p->tunnel_endpoint);
}

/* Out of the tunnel's device to p->tunnel_endpoint, as it is. */
noinline_fn int overlay_send(struct __sk_buff *skb, struct packet *p, bool due)
{
	const struct device *overlay = device_of(DEVICE_OVERLAY);
	struct bpf_tunnel_key *key = &p->tunnel_key;
	__u64 flags;
	__u32 mark;

	if (!overlay)
		return DROP(p, DROP_NO_TUNNEL_ENDPOINT);
	__builtin_memset(key, 0, sizeof(*key));
	key->tunnel_id = vni_of(p->src_identity);
	if (is_ipv4_mapped(&p->tunnel_endpoint)) {
		key->remote_ipv4 = bpf_ntohl(p->tunnel_endpoint.w[3]);
		flags = BPF_F_ZERO_CSUM_TX;
	} else {
		__builtin_memcpy(key->remote_ipv6, &p->tunnel_endpoint, sizeof(key->remote_ipv6));
		flags = BPF_F_TUNINFO_IPV6;
	}
	mark = mark_of_wrapped(p);
	if (!mark)
		return DROPPED;
	if (bpf_skb_set_tunnel_key(skb, key, TUNNEL_KEY_BYTES, flags) < 0)
		return DROP(p, DROP_WRITE_ERROR);
	skb->mark = mark;
	count(skb, REASON_FORWARDED, p->direction);
	trace_to(skb, p, TRACE_TO_OVERLAY, overlay->ifindex, due);
	return bpf_redirect(overlay->ifindex, 0);
}

/* An answer of this node's to a packet that came through the tunnel, which it has taken the place of. */
noinline_fn int overlay_answer(struct __sk_buff *skb, struct packet *p)
{
	p->tuple.daddr = p->tuple.saddr;
	look_up_destination(p);
	if (!is_behind_tunnel(p))
		return DROP(p, DROP_NO_TUNNEL_ENDPOINT);
	p->src_identity = IDENTITY_HOST;
	return overlay_send(skb, p, false);
}

/* Does it not fit, once wrapped? */
inline_fn bool is_too_long(struct __sk_buff *skb, const struct packet *p, __u32 mtu)
{
	return mtu && fib_length(skb, p) > mtu;
}

/* A hop of ours. A service's reply is translated only when it is sure to go. Inlined: 6.1 counts frames by 32 bytes, and there is none to spare. */
inline_fn int to_overlay(struct __sk_buff *skb, struct packet *p, bool due)
{
	const struct device *overlay = device_of(DEVICE_OVERLAY);
	void *data;
	int ret;

	if (p->ttl <= 1 || (overlay && is_too_long(skb, p, overlay->mtu)))
		return to_stack(skb, p, TRACE_TO_STACK, due);
	ret = service_restore(skb, p);
	if (ret < 0)
		return ret;
	data = l2_l3(skb, p);
	if (!data)
		return DROP(p, DROP_INVALID_PACKET);
	ttl_decrement(skb, p, data + L3_OFF, p->direction == DIRECTION_INGRESS);
	return overlay_send(skb, p, due);
}
