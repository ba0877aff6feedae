/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Packets that the node's stack sends away, its own and those that it forwards: by a native device, or to cilium_host for other nodes' pods. */
#pragma once

#include "host.h"
#include "lb-netdev.h"
#include "onward.h"

#undef SOURCE_FILE
#define SOURCE_FILE SOURCE_EGRESS

/* Masquerading; where it is off, of flows that began before that. TC_ACT_OK or DROPPED. */
inline_fn int masquerade(struct __sk_buff *skb, struct packet *p, const struct netdev *netdev)
{
	__u32 traced = take_trace_mark(skb);
	int ret = nat_egress(skb, p, netdev);

	if (ret < 0 || traced == MARK_TRACED)
		return ret < 0 ? ret : TC_ACT_OK;
	if (traced) {
		p->ct_state = traced == MARK_TRACE_NEW ? CT_STATE_NEW : CT_STATE_ESTABLISHED;
		p->dst_identity = identity_of(p, &p->tuple.daddr);
		emit(skb, p, EVENT_TRACE, TRACE_TO_NETWORK, skb->ifindex);
	} else if (ret)
		trace_to(skb, p, TRACE_TO_NETWORK, skb->ifindex, p->ct_state == CT_STATE_NEW);
	return TC_ACT_OK;
}

/* What is not translated yet: the node's own policy, replies of its processes that are backends. 1: that was done, and it stays so. */
inline_fn int from_stack(struct __sk_buff *skb, struct packet *p, const struct netdev *netdev)
{
	if (config.host_firewall && host_to_netdev(skb, p) < 0)
		return DROPPED;
	if (config.services && addr_equal(&p->tuple.saddr, p->ipv6 ? &netdev->ipv6 : &netdev->ipv4)) {
		if (service_to_netdev(skb, p) < 0)
			return DROPPED;
		return p->orig_end != ORIG_NONE;
	}
	return 0;
}

inline_fn int to_netdev_ip(struct __sk_buff *skb, struct packet *p)
{
	__u32 ifindex = skb->ifindex;
	const struct netdev *netdev = bpf_map_lookup_elem(&netdevs, &ifindex);
	bool is_done = !netdev || is_translated(skb);
	int ret;

	if (is_wrapped(skb))
		return send_wrapped(skb, p);
	if (is_done && config.encryption == ENCRYPTION_NONE)
		return TC_ACT_OK;
	pull_headers(skb);
	if (parse_ip(skb, p) < 0)
		return TC_ACT_OK;
	if (netdev && !is_done) {
		ret = from_stack(skb, p, netdev);
		if (ret < 0)
			return ret;
		is_done = ret;
	}
	if (config.encryption != ENCRYPTION_NONE) {
		ret = encrypt_egress(skb, p);
		if (ret)
			return ret;
	}
	return !netdev || is_done ? TC_ACT_OK : masquerade(skb, p, netdev);
}

/* To pods of other nodes, whose routes lead to cilium_host. */
inline_fn int from_host_ip(struct __sk_buff *skb, struct packet *p)
{
	const struct endpoint *src;
	int ret;

	pull_headers(skb);
	ret = parse_ip(skb, p);
	if (ret < 0)
		return ret;
	if (is_nd(p))
		return nd_from_host(skb, p);
	if (addr_is_multicast(p, &p->tuple.daddr) || (p->ipv6 && addr_is_ipv6_link_local(&p->tuple.daddr)))
		return TC_ACT_OK;
	if (config.host_firewall && host_to_netdev(skb, p) < 0)
		return DROPPED;
	/* What the stack cut for a pod comes by here too. */
	src = endpoint_of(&p->tuple.saddr);
	p->src_identity = src ? src->identity : identity_of(p, &p->tuple.saddr);
	look_up_destination(p);
	trace_from(skb, p, TRACE_FROM_HOST);
	if (!is_behind_tunnel(p))
		return DROP(p, DROP_NO_TUNNEL_ENDPOINT);
	return overlay_send(skb, p, false);
}
