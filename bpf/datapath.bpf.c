// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * The four programs of a node: two on the host side of every pod's veth, two on every native device.
 *
 *   from_endpoint  tc ingress of lxc…     packets that leave a pod
 *   to_endpoint    tc egress of lxc…      packets that the node's stack sends to a pod
 *   from_netdev    tc ingress of eth…     packets from the network
 *   to_netdev      tc egress of eth…      packets to the network
 *
 * A function that returns int returns a TC verdict, or DROPPED, which verdict() turns into one.
 */
#include "lib/packet.h"

#include "lib/conntrack.h"
#include "lib/delivery.h"
#include "lib/events.h"
#include "lib/fragment.h"
#include "lib/host.h"
#include "lib/ipcache.h"
#include "lib/lb.h"
#include "lib/lb-netdev.h"
#include "lib/lb-refuse.h"
#include "lib/nat.h"
#include "lib/neighbor.h"
#include "lib/policy.h"

#undef SOURCE_FILE
#define SOURCE_FILE SOURCE_DATAPATH

/* Below this the field is the length of an IEEE 802.3 frame. */
#define ETHERTYPE_MIN 0x600

inline_fn bool is_ip(struct __sk_buff *skb)
{
	return skb->protocol == bpf_htons(ETH_P_IP) || skb->protocol == bpf_htons(ETH_P_IPV6);
}

inline_fn bool is_family_enabled(const struct packet *p)
{
	return p->ipv6 ? config.ipv6 : config.ipv4;
}

/*
 * The packet may be for a frontend: then it is now for its backend. SELECT_FOUND, with what conntrack has of that connection, SELECT_NONE,
 * a verdict (it was answered) or DROPPED.
 */
noinline_fn int service_from_endpoint(struct __sk_buff *skb, struct packet *p, struct ct_entry **entry)
{
	int ret;

	if (icmp_is_error(p)) {
		ret = service_error(skb, p, SERVICE_FORWARD);
		if (ret > 0)
			p->ct_state = CT_STATE_RELATED;
		return ret;
	}
	ret = service_select(p, false, entry);
	if (ret == SELECT_REFUSE)
		return service_refuse(skb, p, true);
	if (ret != SELECT_FOUND)
		return ret;
	ret = service_rewrite(skb, p);
	return ret < 0 ? ret : SELECT_FOUND;
}

/* The pod sends a packet: source check, both policies, and off it goes. */
inline_fn int from_endpoint_ip(struct __sk_buff *skb, struct packet *p)
{
	const struct endpoint *src, *dst;
	struct ct_entry *entry;
	int ret, due;

	pull_headers(skb);
	ret = parse_ip(skb, p);
	if (ret < 0)
		return ret;
	if (!is_family_enabled(p))
		return DROP(p, DROP_UNSUPPORTED_L3);
	if (is_nd(p))
		return nd_from_endpoint(skb, p);
	src = endpoint_of(&p->tuple.saddr);
	if (!src || src->ifindex != skb->ifindex)
		return DROP(p, DROP_INVALID_SOURCE);
	p->endpoint_id = src->id;
	p->src_identity = src->identity;
	ret = fragment_track(p);
	if (ret < 0)
		return ret;
	trace_from(skb, p, TRACE_FROM_ENDPOINT);

	dst = endpoint_of(&p->tuple.daddr);
	p->dst_identity = dst ? dst->identity : identity_of(p, &p->tuple.daddr);
	if (!dst && addr_is_multicast(p, &p->tuple.daddr))
		return DROP(p, DROP_UNKNOWN_L3);
	ret = ct_lookup(skb, p, &entry);
	if (ret < 0)
		return ret;
	if (service_possible(p, entry)) {
		struct ct_entry *behind = NULL;

		ret = service_from_endpoint(skb, p, &behind);
		if (ret == SELECT_FOUND) {
			entry = behind;
			dst = endpoint_of(&p->tuple.daddr);
			p->dst_identity = dst ? dst->identity : identity_of(p, &p->tuple.daddr);
		} else if (ret != SELECT_NONE) {
			return ret;
		}
	} else if (service_is_hairpin_reply(p)) {
		dst = src;
		p->dst_identity = src->identity;
	}
	/* A pod that reaches itself through a service is not asked whether it may. */
	if (dst != src) {
		ret = policy_apply(skb, p, src, DIRECTION_EGRESS, entry);
		if (ret < 0)
			return ret;
		if (dst) {
			ret = policy_apply(skb, p, dst, DIRECTION_INGRESS, entry);
			if (ret < 0)
				return ret;
		} else if (config.host_firewall && p->dst_identity == IDENTITY_HOST) {
			ret = host_from_endpoint(skb, p, entry);
			if (ret < 0)
				return ret;
		}
	}
	due = ct_commit(p, entry);
	if (due < 0)
		return due;

	/* A pod that has not asked for its gateway's MAC may use any; the stack and redirects want it to be ours. */
	if (skb->pkt_type == PACKET_OTHERHOST)
		bpf_skb_change_type(skb, PACKET_HOST);
	if (dst) {
		ret = service_restore(skb, p);
		if (ret < 0)
			return ret;
		count(skb, REASON_FORWARDED, DIRECTION_EGRESS);
		return to_local_endpoint(skb, p, dst, false, due);
	}
	if (p->dst_identity == IDENTITY_HOST)
		return to_stack(skb, p, TRACE_TO_HOST, due);
	return to_network(skb, p, due);
}

SEC("tc")
int from_endpoint(struct __sk_buff *skb)
{
	struct packet *p = packet_begin(DIRECTION_EGRESS);
	int ret;

	if (!p)
		return TC_ACT_SHOT;
	if (skb->vlan_present)
		ret = DROP(p, DROP_VLAN_FILTERED);
	else if (is_ip(skb))
		ret = from_endpoint_ip(skb, p);
	else if (skb->protocol == bpf_htons(ETH_P_ARP))
		ret = config.ipv4 ? arp_from_endpoint(skb, p) : DROP(p, DROP_UNSUPPORTED_L3);
	else if (bpf_ntohs(skb->protocol) < ETHERTYPE_MIN)
		ret = DROP(p, DROP_UNSUPPORTED_L2);
	else
		ret = DROP(p, DROP_UNSUPPORTED_L3);
	return verdict(skb, p, ret);
}

/* Ingress policy of a local endpoint, for packets whose source is not one. Returns whether a trace event is due, or DROPPED. */
inline_fn int admit(struct __sk_buff *skb, struct packet *p, const struct endpoint *dst)
{
	struct ct_entry *entry;
	int ret;

	p->endpoint_id = dst->id;
	p->dst_identity = dst->identity;
	p->src_identity = identity_of(p, &p->tuple.saddr);
	ret = ct_lookup(skb, p, &entry);
	if (ret < 0)
		return ret;
	ret = policy_apply(skb, p, dst, DIRECTION_INGRESS, entry);
	if (ret < 0)
		return ret;
	return ct_commit(p, entry);
}

inline_fn int to_endpoint_ip(struct __sk_buff *skb, struct packet *p)
{
	const struct endpoint *dst;
	int ret, due;

	pull_headers(skb);
	ret = parse_ip(skb, p);
	if (ret < 0)
		return ret;
	if (is_nd(p))
		return TC_ACT_OK;
	dst = own_endpoint(skb, &p->tuple.daddr);
	if (!dst)
		return DROP(p, DROP_UNKNOWN_L3);
	ret = fragment_track(p);
	if (ret < 0)
		return ret;
	trace_from(skb, p, TRACE_FROM_HOST);
	due = admit(skb, p, dst);
	if (due < 0)
		return due;
	ret = service_restore(skb, p);
	if (ret < 0)
		return ret;
	return to_stack(skb, p, TRACE_TO_ENDPOINT, due);
}

SEC("tc")
int to_endpoint(struct __sk_buff *skb)
{
	struct packet *p = packet_begin(DIRECTION_INGRESS);

	if (!p || !is_ip(skb))
		return TC_ACT_OK;
	return verdict(skb, p, to_endpoint_ip(skb, p));
}

inline_fn int from_netdev_ip(struct __sk_buff *skb, struct packet *p)
{
	__u32 ifindex = skb->ifindex;
	const struct netdev *netdev = bpf_map_lookup_elem(&netdevs, &ifindex);
	const struct endpoint *dst;
	int ret, due;

	if (!netdev)
		return TC_ACT_OK;
	pull_headers(skb);
	/* What is broken is the stack's to judge unless it is for a pod, and then it cannot be. */
	if (parse_ip(skb, p) < 0)
		return TC_ACT_OK;
	if (addr_equal(&p->tuple.daddr, p->ipv6 ? &netdev->ipv6 : &netdev->ipv4)) {
		ret = nat_ingress(skb, p);
		if (ret < 0)
			return ret;
	} else {
		ret = 0;
	}
	dst = endpoint_of(&p->tuple.daddr);
	if (!dst) {
		ret = config.services ? service_from_netdev(skb, p, ret) : TC_ACT_OK;
		return config.host_firewall && ret == TC_ACT_OK ? host_from_netdev(skb, p) : ret;
	}
	ret = fragment_track(p);
	if (ret < 0)
		return ret;
	if (config.dsr) {
		ret = dsr_learn(skb, p);
		if (ret < 0)
			return ret;
	}
	trace_from(skb, p, TRACE_FROM_NETWORK);
	due = admit(skb, p, dst);
	if (due < 0)
		return due;
	ret = service_restore(skb, p);
	if (ret < 0)
		return ret;
	return to_local_endpoint(skb, p, dst, true, due);
}

SEC("tc")
int from_netdev(struct __sk_buff *skb)
{
	struct packet *p = packet_begin(DIRECTION_INGRESS);

	if (!p || skb->vlan_present || !is_ip(skb))
		return TC_ACT_OK;
	return verdict(skb, p, from_netdev_ip(skb, p));
}

inline_fn int to_netdev_ip(struct __sk_buff *skb, struct packet *p)
{
	__u32 ifindex = skb->ifindex;
	const struct netdev *netdev = bpf_map_lookup_elem(&netdevs, &ifindex);
	int ret;

	if (!netdev || is_translated(skb))
		return TC_ACT_OK;
	pull_headers(skb);
	if (parse_ip(skb, p) < 0)
		return TC_ACT_OK;
	if (config.host_firewall && host_to_netdev(skb, p) < 0)
		return DROPPED;
	if (config.services && addr_equal(&p->tuple.saddr, p->ipv6 ? &netdev->ipv6 : &netdev->ipv4)) {
		ret = service_to_netdev(skb, p);
		if (ret < 0)
			return ret;
		if (p->orig_end)
			return TC_ACT_OK;
	}
	if (!(p->ipv6 ? config.masquerade_ipv6 : config.masquerade_ipv4))
		return TC_ACT_OK;
	ret = nat_egress(skb, p, netdev);
	if (ret < 0)
		return ret;
	if (ret)
		trace_to(skb, p, TRACE_TO_NETWORK, ifindex, p->ct_state == CT_STATE_NEW);
	return TC_ACT_OK;
}

SEC("tc")
int to_netdev(struct __sk_buff *skb)
{
	struct packet *p = packet_begin(DIRECTION_EGRESS);

	if (!p || skb->vlan_present || !is_ip(skb))
		return TC_ACT_OK;
	return verdict(skb, p, to_netdev_ip(skb, p));
}

char _license[] SEC("license") = "Dual BSD/GPL";
