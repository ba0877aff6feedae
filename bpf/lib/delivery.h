/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The last step: to a pod of this node, to the network, or to the stack, which knows the rest (time exceeded, fragmentation needed,
 * unreachable, neighbours not yet known to it).
 */
#pragma once

#include "events.h"
#include "lb.h"

#undef SOURCE_FILE
#define SOURCE_FILE SOURCE_DELIVERY

/* A hop less; also keeps a checksum that the NIC computed over the whole packet right, for packets that come from one. */
inline_fn void ttl_decrement(struct __sk_buff *skb, const struct packet *p, void *l3, bool from_network)
{
	if (p->ipv6) {
		struct ipv6hdr *ip = l3;

		ip->hop_limit--;
		if (from_network)
			bpf_csum_update(skb, (__u16)~bpf_htons(1));
	} else {
		struct iphdr *ip = l3;
		__u32 check = ip->check;

		/* RFC 1141: the sum grows as the TTL, high byte of its word, shrinks. */
		check += bpf_htons(0x0100);
		ip->check = check + (check >= 0xffff);
		ip->ttl--;
	}
}

inline_fn void *l2_l3(struct __sk_buff *skb, const struct packet *p)
{
	void *data = (void *)(long)skb->data;

	if (data + L3_OFF + (p->ipv6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr)) > (void *)(long)skb->data_end)
		return NULL;
	return data;
}

inline_fn int to_stack(struct __sk_buff *skb, const struct packet *p, __u8 point, bool due)
{
	count(skb, REASON_FORWARDED, p->direction);
	trace_to(skb, p, point, 0, due);
	return TC_ACT_OK;
}

/* Straight into the pod's namespace; policy has been applied. */
inline_fn int to_local_endpoint(struct __sk_buff *skb, struct packet *p, const struct endpoint *endpoint, bool from_network,
				bool due)
{
	void *data;

	if (p->ttl <= 1)
		return to_stack(skb, p, TRACE_TO_STACK, due);
	data = (void *)(long)skb->data;
	if (data + L3_OFF + sizeof(struct iphdr) > (void *)(long)skb->data_end)
		return DROP(p, DROP_INVALID_PACKET);
	if (p->ipv6 && data + L3_OFF + sizeof(struct ipv6hdr) > (void *)(long)skb->data_end)
		return DROP(p, DROP_INVALID_PACKET);
	/* endpoint.mac and .host_mac lie as the two addresses of an Ethernet header. */
	*(__u64 *)data = *(const __u64 *)endpoint->mac;
	*(__u32 *)(data + 8) = *(const __u32 *)(endpoint->host_mac + 2);
	ttl_decrement(skb, p, data + L3_OFF, from_network);
	count(skb, REASON_FORWARDED, DIRECTION_INGRESS);
	trace_to(skb, p, TRACE_TO_ENDPOINT, endpoint->ifindex, due);
	return bpf_redirect_peer(endpoint->ifindex, 0);
}

/* Length that must fit the route: of a segment where the packet will be cut into segments. */
inline_fn __u16 fib_length(struct __sk_buff *skb, const struct packet *p)
{
	__u32 headers = p->l4_off - L3_OFF + (p->tuple.proto == IPPROTO_TCP ? sizeof(struct tcphdr) : sizeof(struct udphdr));

	return skb->gso_size ? skb->gso_size + headers : skb->len - L3_OFF;
}

/* Asks the routing table for the way to the packet's destination, into p->fib. */
noinline_fn long route(struct __sk_buff *skb, struct packet *p)
{
	struct bpf_fib_lookup *fib = &p->fib;

	__builtin_memset(fib, 0, sizeof(*fib));
	fib->family = p->ipv6 ? 10 /* AF_INET6 */ : 2 /* AF_INET */;
	fib->l4_protocol = p->tuple.proto;
	fib->sport = p->tuple.sport;
	fib->dport = p->tuple.dport;
	fib->tot_len = fib_length(skb, p);
	fib->ifindex = skb->ifindex;
	if (p->ipv6) {
		__builtin_memcpy(fib->ipv6_src, &p->tuple.saddr, sizeof(struct addr));
		__builtin_memcpy(fib->ipv6_dst, &p->tuple.daddr, sizeof(struct addr));
	} else {
		fib->ipv4_src = p->tuple.saddr.w[3];
		fib->ipv4_dst = p->tuple.daddr.w[3];
	}
	return bpf_fib_lookup(skb, fib, sizeof(*fib), 0);
}

inline_fn bool is_routed(long ret)
{
	return ret == BPF_FIB_LKUP_RET_SUCCESS || ret == BPF_FIB_LKUP_RET_NO_NEIGH;
}

/* Will to_netdev give the packet another source? It has a connection, which began here. */
inline_fn bool is_to_be_masqueraded(const struct packet *p)
{
	__u32 ifindex = p->fib.ifindex;

	if (!is_masquerading(p))
		return false;
	if (p->direction != DIRECTION_EGRESS || !p->endpoint_id || !identity_is_world(p->dst_identity) || icmp_is_error(p))
		return false;
	if (p->ct_state != CT_STATE_NEW && p->ct_state != CT_STATE_ESTABLISHED)
		return false;
	if (cidr_contains(p->ipv6 ? &config.native_routing_ipv6 : &config.native_routing_ipv4, &p->tuple.daddr))
		return false;
	return bpf_map_lookup_elem(&netdevs, &ifindex);
}

/* A packet is told of at this point once, by the program that knows more of it. */
noinline_fn void trace_to_network(struct __sk_buff *skb, const struct packet *p)
{
	bool again = is_to_be_masqueraded(p);

	if (again && p->orig_end == ORIG_NONE) {
		mark_trace(skb, p->ct_state == CT_STATE_NEW ? MARK_TRACE_NEW : MARK_TRACE_ESTABLISHED);
		return;
	}
	if (again)
		mark_trace(skb, MARK_TRACED);
	emit(skb, p, EVENT_TRACE, TRACE_TO_NETWORK, p->fib.ifindex);
}

/* Out of the device that route() found; `ret` is what it said. */
noinline_fn int send_routed(struct __sk_buff *skb, struct packet *p, long ret, bool due)
{
	const struct bpf_fib_lookup *fib = &p->fib;
	struct bpf_redir_neigh next = {};
	void *data = l2_l3(skb, p);

	if (!data)
		return DROP(p, DROP_INVALID_PACKET);
	ttl_decrement(skb, p, data + L3_OFF, p->direction == DIRECTION_INGRESS);
	count(skb, REASON_FORWARDED, p->direction);
	if (is_traced(due))
		trace_to_network(skb, p);
	if (ret == BPF_FIB_LKUP_RET_SUCCESS) {
		data = l2_l3(skb, p);
		if (!data)
			return DROP(p, DROP_INVALID_PACKET);
		__builtin_memcpy(data, fib->dmac, ETH_ALEN);
		__builtin_memcpy(data + ETH_ALEN, fib->smac, ETH_ALEN);
		return bpf_redirect(fib->ifindex, 0);
	}
	next.nh_family = fib->family;
	if (fib->family == 2)
		next.ipv4_nh = fib->ipv4_dst;
	else
		__builtin_memcpy(next.ipv6_nh, fib->ipv6_dst, sizeof(next.ipv6_nh));
	return bpf_redirect_neigh(fib->ifindex, &next, sizeof(next), 0);
}
