/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Policy of the node itself: of packets to and from its own processes, at the native devices and from its pods.
 *
 * - Without config.host_firewall nothing of this is in the programs. With it, connections of the node are tracked, policy or not.
 * - What goes on to a pod or comes from one through the node is not the node's; what its own processes send to its pods is.
 * - Neighbour discovery passes. What is not tracked (ESP, GRE, IGMP …) is checked packet by packet.
 * - Connections that the node began before it was enabled go on: who answers at a port where nobody listens is answering.
 */
#pragma once

#include "fragment.h"
#include "neighbor.h"
#include "policy.h"

#undef SOURCE_FILE
#define SOURCE_FILE SOURCE_HOST

#define TCP_STATE_LISTEN 10

inline_fn const struct endpoint *host_endpoint(void)
{
	struct addr nobody;

	addr_from_ipv4(&nobody, 0);
	return bpf_map_lookup_elem(&endpoints, &nobody);
}

/* A node has link-local addresses that no row tells of. */
inline_fn bool is_host(const struct packet *p, const struct addr *addr)
{
	return (p->ipv6 && addr_is_ipv6_link_local(addr)) || identity_of(p, addr) == IDENTITY_HOST;
}

/* Both ends of a peer's packet as a socket of this namespace has them, or with any peer. Its length. */
inline_fn __u32 socket_tuple(const struct packet *p, bool any_peer, struct bpf_sock_tuple *tuple)
{
	if (p->ipv6) {
		__builtin_memcpy(tuple->ipv6.daddr, &p->tuple.daddr, sizeof(tuple->ipv6.daddr));
		tuple->ipv6.dport = p->tuple.dport;
		if (!any_peer) {
			__builtin_memcpy(tuple->ipv6.saddr, &p->tuple.saddr, sizeof(tuple->ipv6.saddr));
			tuple->ipv6.sport = p->tuple.sport;
		}
		return sizeof(tuple->ipv6);
	}
	tuple->ipv4.daddr = p->tuple.daddr.w[3];
	tuple->ipv4.dport = p->tuple.dport;
	if (!any_peer) {
		tuple->ipv4.saddr = p->tuple.saddr.w[3];
		tuple->ipv4.sport = p->tuple.sport;
	}
	return sizeof(tuple->ipv4);
}

/* State of the TCP socket of this namespace for a peer's packet; 0: there is none. */
inline_fn __u32 socket_state(struct __sk_buff *skb, const struct packet *p, bool any_peer)
{
	struct bpf_sock_tuple tuple = {};
	__u32 size = socket_tuple(p, any_peer, &tuple), state;
	struct bpf_sock *sk = bpf_skc_lookup_tcp(skb, &tuple, size, BPF_F_CURRENT_NETNS, 0);

	if (!sk)
		return 0;
	state = sk->state;
	bpf_sk_release(sk);
	return state;
}

/* A UDP socket that is connected to the packet's sender: who only answers mostly has none, who asks mostly has. */
noinline_fn bool is_connected_udp(struct __sk_buff *skb, const struct packet *p)
{
	struct bpf_sock_tuple tuple = {};
	__u32 size = socket_tuple(p, false, &tuple);
	struct bpf_sock *sk = bpf_sk_lookup_udp(skb, &tuple, size, BPF_F_CURRENT_NETNS, 0);
	bool is_connected;

	if (!sk)
		return false;
	is_connected = sk->dst_port == p->tuple.sport;
	bpf_sk_release(sk);
	return is_connected;
}

/* The middle of a connection that conntrack does not know, and that the node must have begun. */
noinline_fn bool host_began(struct __sk_buff *skb, const struct packet *p)
{
	__u32 state;

	if (p->fragment != FRAGMENT_NONE)
		return false;
	if (p->tuple.proto == IPPROTO_UDP)
		return is_connected_udp(skb, p);
	if (p->tuple.proto != IPPROTO_TCP || p->tcp_flags & TCP_FLAG_SYN)
		return false;
	state = socket_state(skb, p, false);
	return state && state != TCP_STATE_LISTEN && socket_state(skb, p, true) != TCP_STATE_LISTEN;
}

/* Identities are in p. 0 or DROPPED. */
inline_fn int host_policy(struct __sk_buff *skb, struct packet *p, __u8 direction)
{
	const struct endpoint *host = host_endpoint();
	struct ct_entry *entry = NULL;
	int ret;

	if (is_nd(p))
		return 0;
	ret = fragment_track(skb, p);
	if (ret < 0)
		return ret;
	if (!ct_protocol_known(p)) {
		p->ct_state = CT_STATE_NEW;
		return host ? policy_apply(skb, p, host, direction, NULL) : 0;
	}
	ret = ct_lookup(skb, p, &entry);
	if (ret < 0)
		return ret;
	if (host && !(p->ct_state == CT_STATE_NEW && direction == DIRECTION_INGRESS && host_began(skb, p))) {
		ret = policy_apply(skb, p, host, direction, entry);
		if (ret < 0)
			return ret;
	} else if (p->ct_state == CT_STATE_NEW && host) {
		/* Its own packets, which are the origin's, make the entry. */
		return 0;
	}
	/* Translating it back is for those that come after. */
	p->service = SERVICE_NONE;
	ret = ct_commit(p, entry);
	return ret < 0 ? ret : 0;
}

/* A packet from the network, services and masquerading undone. TC_ACT_OK or DROPPED. */
noinline_fn int host_from_netdev(struct __sk_buff *skb, struct packet *p)
{
	if (!is_host(p, &p->tuple.daddr))
		return TC_ACT_OK;
	p->dst_identity = IDENTITY_HOST;
	p->src_identity = identity_of_source(p);
	return host_policy(skb, p, DIRECTION_INGRESS) < 0 ? DROPPED : TC_ACT_OK;
}

/* A packet to the network, not translated yet. TC_ACT_OK or DROPPED. */
noinline_fn int host_to_netdev(struct __sk_buff *skb, struct packet *p)
{
	if (!is_host(p, &p->tuple.saddr) || addr_is_multicast(p, &p->tuple.daddr))
		return TC_ACT_OK;
	p->src_identity = IDENTITY_HOST;
	p->dst_identity = identity_of(p, &p->tuple.daddr);
	return host_policy(skb, p, DIRECTION_EGRESS) < 0 ? DROPPED : TC_ACT_OK;
}

/* A pod's packet to the node, tracked already. 0 or DROPPED. */
noinline_fn int host_from_endpoint(struct __sk_buff *skb, struct packet *p, struct ct_entry *entry)
{
	const struct endpoint *host = host_endpoint();

	return host ? policy_apply(skb, p, host, DIRECTION_INGRESS, entry) : 0;
}

/* A packet of the node's own to one of its pods, tracked already. 0 or DROPPED. */
noinline_fn int host_to_endpoint(struct __sk_buff *skb, struct packet *p, struct ct_entry *entry)
{
	const struct endpoint *host = host_endpoint();

	return host ? policy_apply(skb, p, host, DIRECTION_EGRESS, entry) : 0;
}
