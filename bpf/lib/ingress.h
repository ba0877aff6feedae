/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Packets from elsewhere: by a native device, through the tunnel, or decrypted. For a pod of this node, for a frontend, for the node.
 *
 * - What is broken is the stack's to judge unless it is for a pod, and then it cannot be. Through the tunnel it is dropped: nobody routed it here.
 */
#pragma once

#include "dsr.h"
#include "host.h"
#include "lb-netdev.h"
#include "onward.h"

#undef SOURCE_FILE
#define SOURCE_FILE SOURCE_INGRESS

/* Ingress policy of a local endpoint, for packets whose source is not one. Returns whether a trace event is due, or DROPPED. */
inline_fn int admit(struct __sk_buff *skb, struct packet *p, const struct endpoint *dst)
{
	struct ct_entry *entry;
	int ret;

	p->endpoint_id = dst->id;
	p->dst_identity = dst->identity;
	p->src_identity = identity_of_source(p);
	ret = ct_lookup(skb, p, &entry);
	if (ret < 0)
		return ret;
	if (config.host_firewall && p->src_identity == IDENTITY_HOST) {
		ret = host_to_endpoint(skb, p, entry);
		if (ret < 0)
			return ret;
	}
	ret = policy_apply(skb, p, dst, DIRECTION_INGRESS, entry);
	if (ret < 0)
		return ret;
	return ct_commit(p, entry);
}

/* A parsed packet. `netdev`: of the device that it came by, or NULL; `point`: what traces call that. */
inline_fn int arrive(struct __sk_buff *skb, struct packet *p, const struct netdev *netdev, __u8 point)
{
	const struct endpoint *dst;
	int ret = 0, due;

	if (netdev && addr_equal(&p->tuple.daddr, p->ipv6 ? &netdev->ipv6 : &netdev->ipv4)) {
		ret = nat_ingress(skb, p);
		if (ret < 0)
			return ret;
	}
	dst = endpoint_of(&p->tuple.daddr);
	if (!dst) {
		ret = config.services ? service_from_netdev(skb, p, ret) : TC_ACT_OK;
		return config.host_firewall && ret == TC_ACT_OK ? host_from_netdev(skb, p) : ret;
	}
	ret = fragment_track(skb, p);
	if (ret < 0)
		return ret;
	if (config.dsr) {
		ret = dsr_learn(skb, p);
		if (ret < 0)
			return ret;
	}
	trace_from(skb, p, point);
	due = admit(skb, p, dst);
	if (due < 0)
		return due;
	ret = service_restore(skb, p);
	if (ret < 0)
		return ret;
	return to_local_endpoint(skb, p, dst, true, due);
}

/* The tunnel's own packets are for the stack, if they are of a node. 1: that it is, 0: it is something else, or DROPPED. */
inline_fn int arrive_wrapped(struct packet *p, const struct netdev *netdev)
{
	if (!is_tunnelled(p) || !addr_equal(&p->tuple.daddr, p->ipv6 ? &netdev->ipv6 : &netdev->ipv4))
		return 0;
	if (!identity_is_node(identity_of(p, &p->tuple.saddr)))
		return DROP(p, DROP_ENCAP_PROHIBITED);
	return !config.host_firewall;
}

inline_fn int from_netdev_ip(struct __sk_buff *skb, struct packet *p)
{
	__u32 ifindex = skb->ifindex;
	const struct netdev *netdev = bpf_map_lookup_elem(&netdevs, &ifindex);
	int ret;

	if (!netdev)
		return TC_ACT_OK;
	pull_headers(skb);
	if (parse_ip(skb, p) < 0 || is_for_xfrm(skb, p))
		return TC_ACT_OK;
	ret = arrive_wrapped(p, netdev);
	if (ret)
		return ret < 0 ? ret : TC_ACT_OK;
	return arrive(skb, p, netdev, TRACE_FROM_NETWORK);
}

inline_fn int from_overlay_ip(struct __sk_buff *skb, struct packet *p)
{
	__u32 ifindex = skb->ifindex;
	const struct netdev *netdev = bpf_map_lookup_elem(&netdevs, &ifindex);
	int ret;

	pull_headers(skb);
	ret = parse_ip(skb, p);
	if (ret < 0)
		return ret;
	ret = overlay_identify(skb, p);
	if (ret < 0)
		return ret;
	/* Nodes are no neighbours of each other's pods. */
	if (is_nd(p))
		return DROP(p, DROP_FORBIDDEN_ICMP6);
	/* The frame is addressed as it was when it left its pod. */
	if (skb->pkt_type != PACKET_HOST)
		bpf_skb_change_type(skb, PACKET_HOST);
	return arrive(skb, p, netdev, TRACE_FROM_OVERLAY);
}

/* WireGuard's device has no Ethernet header; all that follows wants one, and the stack does not mind. */
noinline_fn int ethernet_push(struct __sk_buff *skb)
{
	struct ethhdr eth = { .h_proto = skb->protocol };

	if (bpf_skb_change_head(skb, ETH_HLEN, 0) < 0)
		return -1;
	return bpf_skb_store_bytes(skb, 0, &eth, sizeof(eth), 0);
}

inline_fn int from_wireguard_ip(struct __sk_buff *skb, struct packet *p)
{
	__u32 ifindex = skb->ifindex;
	const struct netdev *netdev = bpf_map_lookup_elem(&netdevs, &ifindex);
	int ret;

	if (ethernet_push(skb) < 0)
		return DROP(p, DROP_WRITE_ERROR);
	pull_headers(skb);
	if (parse_ip(skb, p) < 0)
		return TC_ACT_OK;
	ret = netdev ? arrive_wrapped(p, netdev) : 0;
	if (ret)
		return ret < 0 ? ret : TC_ACT_OK;
	return arrive(skb, p, netdev, TRACE_FROM_CRYPTO);
}
