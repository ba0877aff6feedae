/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Services for clients outside of the node: what arrives at a native device for a frontend, and what comes back through it.
 *
 * - A backend of this node sees the client's address. To one of another node the packet goes on under this node's address, and its
 *   replies come back here; or, with DSR, under the client's, and the other node answers the client.
 * - Nothing here goes to the stack half translated: it would take a packet from an address of its own for spoofed.
 */
#pragma once

#include "dsr.h"
#include "lb-refuse.h"
#include "onward.h"
#include "policy.h"

#undef SOURCE_FILE
#define SOURCE_FILE SOURCE_LB_NETDEV

/* To a pod of this node. */
noinline_fn int service_to_pod(struct __sk_buff *skb, struct packet *p, const struct endpoint *dst, struct ct_entry *entry)
{
	int ret;

	p->endpoint_id = dst->id;
	p->dst_identity = dst->identity;
	ret = service_rewrite(skb, p);
	if (ret < 0)
		return ret;
	ret = policy_apply(skb, p, dst, DIRECTION_INGRESS, entry);
	if (ret < 0)
		return ret;
	ret = ct_commit(p, entry);
	if (ret < 0)
		return ret;
	return to_local_endpoint(skb, p, dst, true, ret);
}

/* The address that a device has for masquerading. NULL: it is none of ours. */
inline_fn const struct addr *node_address(const struct packet *p, __u32 ifindex)
{
	const struct netdev *netdev = bpf_map_lookup_elem(&netdevs, &ifindex);

	if (!netdev)
		return NULL;
	return p->ipv6 ? &netdev->ipv6 : &netdev->ipv4;
}

/* To the backend, and with SNAT from `node`. Whether a trace event is due, or DROPPED. */
noinline_fn int service_translate(struct __sk_buff *skb, struct packet *p, struct ct_entry *entry, const struct addr *node)
{
	int ret, due;

	if (!node)
		return DROP(p, DROP_NO_DEVICE);
	due = ct_commit(p, entry);
	if (due < 0)
		return due;
	ret = service_rewrite(skb, p);
	if (ret < 0)
		return ret;
	if (p->service_flags & SERVICE_DSR) {
		ret = dsr_announce(skb, p);
	} else {
		ret = nat_service(p, node);
		if (ret < 0)
			return ret;
		ret = nat_rewrite(skb, p, true, &p->node);
	}
	return ret < 0 ? ret : due;
}

/* To a backend elsewhere. */
noinline_fn int service_to_remote(struct __sk_buff *skb, struct packet *p, struct ct_entry *entry)
{
	long routed;
	int due;

	routed = route(skb, p);
	if (routed == BPF_FIB_LKUP_RET_FRAG_NEEDED) {
		service_untarget(p);
		return service_too_big(skb, p, p->fib.mtu_result);
	}
	if (!is_routed(routed))
		return DROP(p, DROP_NO_FIB);
	due = service_translate(skb, p, entry, node_address(p, p->fib.ifindex));
	if (due < 0)
		return due;
	mark_translated(skb);
	return send_routed(skb, p, routed, due);
}

/* To a backend behind the tunnel; the client's identity stays in the key. */
noinline_fn int service_to_overlay(struct __sk_buff *skb, struct packet *p, struct ct_entry *entry)
{
	const struct device *overlay = device_of(DEVICE_OVERLAY);
	void *data;
	int due;

	if (!overlay)
		return DROP(p, DROP_NO_TUNNEL_ENDPOINT);
	if (is_too_long(skb, p, overlay->mtu)) {
		service_untarget(p);
		return service_too_big(skb, p, overlay->mtu);
	}
	due = service_translate(skb, p, entry, node_address(p, overlay->ifindex));
	if (due < 0)
		return due;
	data = l2_l3(skb, p);
	if (!data)
		return DROP(p, DROP_INVALID_PACKET);
	ttl_decrement(skb, p, data + L3_OFF, true);
	return overlay_send(skb, p, due);
}

/* What came back from another node's backend; SNAT is undone, so it is for the client. */
noinline_fn int service_to_client(struct __sk_buff *skb, struct packet *p)
{
	struct ct_entry *entry = NULL;
	int due;

	due = ct_lookup(skb, p, &entry);
	if (due < 0)
		return due;
	if (p->service < SERVICE_TO_CLIENT)
		return TC_ACT_OK;
	p->src_identity = identity_of_source(p);
	look_up_destination(p);
	due = ct_commit(p, entry);
	return due < 0 ? due : to_network(skb, p, due);
}

/* An ICMP error to a frontend about one of its replies. */
noinline_fn int service_error_from_netdev(struct __sk_buff *skb, struct packet *p)
{
	const struct endpoint *dst;
	int ret = service_error(skb, p, SERVICE_FORWARD);

	if (ret <= 0)
		return ret < 0 ? ret : TC_ACT_OK;
	p->ct_state = CT_STATE_RELATED;
	p->src_identity = identity_of_source(p);
	dst = endpoint_of(&p->tuple.daddr);
	if (dst) {
		p->endpoint_id = dst->id;
		p->dst_identity = dst->identity;
		return to_local_endpoint(skb, p, dst, true, true);
	}
	look_up_destination(p);
	if (p->dst_identity == IDENTITY_HOST)
		return to_stack(skb, p, TRACE_TO_HOST, true);
	ret = nat_error(skb, p, DIRECTION_EGRESS);
	if (ret < 0)
		return ret;
	mark_translated(skb);
	return to_network(skb, p, true);
}

/* For no pod of this node. `undone`: SNAT of the packet was undone. TC_ACT_OK: not of a service. */
noinline_fn int service_from_netdev(struct __sk_buff *skb, struct packet *p, bool undone)
{
	const struct endpoint *dst;
	struct ct_entry *entry = NULL;
	int ret;

	if (undone)
		return service_to_client(skb, p);
	/* Fragments of a datagram that is not ours to translate are none of our business. */
	if (p->fragment == FRAGMENT_LATER && fragment_ports(p) < 0)
		return TC_ACT_OK;
	if (p->fragment == FRAGMENT_FIRST && frontend_of(p))
		fragment_ports(p);
	if (icmp_is_error(p))
		return service_error_from_netdev(skb, p);
	ret = service_select(p, true, &entry);
	if (ret == SELECT_NONE)
		return TC_ACT_OK;
	p->src_identity = identity_of_source(p);
	trace_from(skb, p, p->carried_identity ? TRACE_FROM_OVERLAY : TRACE_FROM_NETWORK);
	if (ret == SELECT_REFUSE)
		return service_refuse(skb, p, false);
	if (ret < 0)
		return ret;
	dst = endpoint_of(&p->tuple.daddr);
	if (dst)
		return service_to_pod(skb, p, dst, entry);
	look_up_destination(p);
	if (p->dst_identity != IDENTITY_HOST) {
		if (p->ttl <= 1)
			return DROP(p, DROP_TTL_EXCEEDED);
		return is_behind_tunnel(p) ? service_to_overlay(skb, p, entry) : service_to_remote(skb, p, entry);
	}
	ret = service_rewrite(skb, p);
	if (ret < 0)
		return ret;
	ret = ct_commit(p, entry);
	return ret < 0 ? ret : to_stack(skb, p, TRACE_TO_HOST, ret);
}

/* From the node itself, or through its stack: replies of a backend that is a process of the node. 0 or DROPPED. */
noinline_fn int service_to_netdev(struct __sk_buff *skb, struct packet *p)
{
	struct service_flow_key key = {};
	int ret;

	if (icmp_is_error(p)) {
		ret = service_error(skb, p, SERVICE_REPLY);
		return ret < 0 ? ret : 0;
	}
	if (!has_ports(p->tuple.proto))
		return 0;
	if (p->fragment == FRAGMENT_LATER && fragment_ports(p) < 0)
		return 0;
	service_key_of(&p->tuple, SERVICE_REPLY, &key);
	if (!bpf_map_lookup_elem(&service_flows, &key))
		return 0;
	if (p->fragment == FRAGMENT_FIRST)
		fragment_ports(p);
	return service_reply(skb, p);
}
