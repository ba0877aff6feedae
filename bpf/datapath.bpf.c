// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * The programs of a node: two on the host side of every pod's veth, two on every native device, and those between nodes.
 *
 *   from_endpoint   tc ingress of lxc…          packets that leave a pod
 *   to_endpoint     tc egress of lxc…           packets that the node's stack sends to a pod
 *   from_netdev     tc ingress of eth…          packets from the network
 *   to_netdev       tc egress of eth…           packets to the network
 *   from_overlay    tc ingress of cilium_vxlan, cilium_geneve: packets of other nodes, unwrapped
 *   from_host       tc egress of cilium_host    packets of the node's stack to pods of other nodes, by tunnel
 *   from_wireguard  tc ingress of cilium_wg0    packets of other nodes, decrypted
 *
 * A function that returns int returns a TC verdict, or DROPPED, which verdict() turns into one.
 */
#include "lib/egress.h"
#include "lib/ingress.h"

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

/* `dst`: the pod of this node that the packet is for now, or NULL. */
inline_fn void destination_is(struct packet *p, const struct endpoint *dst)
{
	if (dst)
		p->dst_identity = dst->identity;
	else
		look_up_destination(p);
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
	ret = fragment_track(skb, p);
	if (ret < 0)
		return ret;
	trace_from(skb, p, TRACE_FROM_ENDPOINT);

	dst = endpoint_of(&p->tuple.daddr);
	destination_is(p, dst);
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
			destination_is(p, dst);
		} else if (ret != SELECT_NONE) {
			return ret;
		}
	} else if (service_is_hairpin_reply(p)) {
		dst = src;
		p->dst_identity = src->identity;
	}
	/* To a node's tunnel it would come as from anybody. */
	if (!dst && is_tunnelled(p) && identity_is_node(p->dst_identity))
		return DROP(p, DROP_ENCAP_PROHIBITED);
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
	ret = fragment_track(skb, p);
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

SEC("tc")
int from_netdev(struct __sk_buff *skb)
{
	struct packet *p = packet_begin(DIRECTION_INGRESS);

	if (!p || skb->vlan_present || !is_ip(skb))
		return TC_ACT_OK;
	return verdict(skb, p, from_netdev_ip(skb, p));
}

SEC("tc")
int to_netdev(struct __sk_buff *skb)
{
	struct packet *p = packet_begin(DIRECTION_EGRESS);

	if (!p || skb->vlan_present || !is_ip(skb))
		return TC_ACT_OK;
	return verdict(skb, p, to_netdev_ip(skb, p));
}

SEC("tc")
int from_overlay(struct __sk_buff *skb)
{
	struct packet *p = packet_begin(DIRECTION_INGRESS);

	if (!p)
		return TC_ACT_SHOT;
	if (config.tunnel == TUNNEL_NONE)
		return verdict(skb, p, DROP(p, DROP_ENCAP_PROHIBITED));
	if (skb->vlan_present)
		return verdict(skb, p, DROP(p, DROP_VLAN_FILTERED));
	return verdict(skb, p, is_ip(skb) ? from_overlay_ip(skb, p) : DROP(p, DROP_UNSUPPORTED_L3));
}

SEC("tc")
int from_host(struct __sk_buff *skb)
{
	struct packet *p = packet_begin(DIRECTION_EGRESS);

	if (!p || config.tunnel == TUNNEL_NONE || skb->vlan_present)
		return TC_ACT_OK;
	if (skb->protocol == bpf_htons(ETH_P_ARP))
		return verdict(skb, p, arp_from_host(skb, p));
	return is_ip(skb) ? verdict(skb, p, from_host_ip(skb, p)) : TC_ACT_OK;
}

SEC("tc")
int from_wireguard(struct __sk_buff *skb)
{
	struct packet *p = packet_begin(DIRECTION_INGRESS);

	if (!p || config.encryption != ENCRYPTION_WIREGUARD || !is_ip(skb))
		return TC_ACT_OK;
	return verdict(skb, p, from_wireguard_ip(skb, p));
}

char _license[] SEC("license") = "Dual BSD/GPL";
