/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * ARP and neighbour discovery of pods: every address but their own is at the host side of their veth.
 *
 * - What a pod may send: requests (answered here), answers to the node's own requests (to the stack), duplicate address detection
 *   of its own addresses (to the stack, which has no such address and stays silent). All else is dropped.
 */
#pragma once

#include "events.h"
#include "ipcache.h"
#include "checksum.h"
#include "parse.h"

#undef SOURCE_FILE
#define SOURCE_FILE SOURCE_NEIGHBOR

#define ND_HOP_LIMIT 255
#define ND_ROUTER_SOLICITATION 133
#define ND_SOLICITATION 135
#define ND_ADVERTISEMENT 136
#define ND_REDIRECT 137
#define MLD_QUERY 130
#define MLD_DONE 132
#define MLD2_REPORT 143
#define ND_TARGET_LINK_ADDRESS 2
#define ND_FLAGS 0xe0000000 /* router, solicited, override */

struct arp_ipv4 {
	__be16 hardware;
	__be16 protocol;
	__u8 hardware_len;
	__u8 protocol_len;
	__be16 op;
	__u8 sender_mac[ETH_ALEN];
	__u8 sender_ip[4];
	__u8 target_mac[ETH_ALEN];
	__u8 target_ip[4];
} __attribute__((packed));

struct nd_message {
	struct {
		__u8 type;
		__u8 code;
		__be16 check;
		__be32 flags;
	} hdr;
	struct addr target;
	__u8 option;
	__u8 option_len; /* in 8 bytes */
	__u8 mac[ETH_ALEN];
};

/* Neighbour discovery and multicast listener discovery: what the link needs to itself. */
inline_fn bool is_nd(const struct packet *p)
{
	if (p->tuple.proto != IPPROTO_ICMPV6 || !p->ipv6 || p->fragment == FRAGMENT_LATER)
		return false;
	return (p->icmp_type >= ND_ROUTER_SOLICITATION && p->icmp_type <= ND_REDIRECT) ||
	       (p->icmp_type >= MLD_QUERY && p->icmp_type <= MLD_DONE) || p->icmp_type == MLD2_REPORT;
}

/* The endpoint, if the address is one of the pod that the packet came from. */
inline_fn const struct endpoint *own_endpoint(struct __sk_buff *skb, const struct addr *addr)
{
	const struct endpoint *endpoint = endpoint_of(addr);

	return endpoint && endpoint->ifindex == skb->ifindex ? endpoint : NULL;
}

/* Makes a request, with its Ethernet header, the reply to itself. */
inline_fn void arp_turn(__u8 *frame, const __u8 *mac)
{
	struct arp_ipv4 *arp = (void *)frame + ETH_HLEN;
	struct ethhdr *eth = (void *)frame;
	__u8 target_ip[4];

	__builtin_memcpy(eth->h_dest, eth->h_source, ETH_ALEN);
	__builtin_memcpy(eth->h_source, mac, ETH_ALEN);
	arp->op = bpf_htons(ARPOP_REPLY);
	__builtin_memcpy(target_ip, arp->target_ip, 4);
	__builtin_memcpy(arp->target_mac, arp->sender_mac, ETH_ALEN);
	__builtin_memcpy(arp->target_ip, arp->sender_ip, 4);
	__builtin_memcpy(arp->sender_mac, mac, ETH_ALEN);
	__builtin_memcpy(arp->sender_ip, target_ip, 4);
}

noinline_fn int arp_from_endpoint(struct __sk_buff *skb, struct packet *p)
{
	const struct endpoint *sender;
	struct addr sender_ip, target_ip;
	__u8 reply[ETH_HLEN + sizeof(struct arp_ipv4)];
	const struct arp_ipv4 *arp = (void *)reply + ETH_HLEN;
	__be32 ip;

	if (bpf_skb_load_bytes(skb, 0, reply, sizeof(reply)) < 0)
		return DROP(p, DROP_INVALID_PACKET);
	if (arp->hardware != bpf_htons(ARPHRD_ETHER) || arp->protocol != bpf_htons(ETH_P_IP) ||
	    arp->hardware_len != ETH_ALEN || arp->protocol_len != 4)
		return DROP(p, DROP_INVALID_PACKET);
	__builtin_memcpy(&ip, arp->sender_ip, 4);
	addr_from_ipv4(&sender_ip, ip);
	__builtin_memcpy(&ip, arp->target_ip, 4);
	addr_from_ipv4(&target_ip, ip);
	sender = own_endpoint(skb, &sender_ip);
	if (!sender) {
		/* Probe (RFC 5227): the sender has no address yet. */
		if (sender_ip.w[3] == 0 && own_endpoint(skb, &target_ip))
			return TC_ACT_OK;
		return DROP(p, DROP_INVALID_SOURCE);
	}
	p->endpoint_id = sender->id;
	p->src_identity = sender->identity;
	if (arp->op != bpf_htons(ARPOP_REQUEST) || own_endpoint(skb, &target_ip))
		return TC_ACT_OK;
	arp_turn(reply, sender->host_mac);
	if (bpf_skb_store_bytes(skb, 0, reply, sizeof(reply), 0) < 0)
		return DROP(p, DROP_WRITE_ERROR);
	return bpf_redirect(skb->ifindex, 0);
}

/* The node asks for what is behind cilium_host. Any MAC will do there, but not the node's own. */
inline_fn void mac_of_elsewhere(const __u8 *own, __u8 *mac)
{
	__builtin_memcpy(mac, own, ETH_ALEN);
	mac[ETH_ALEN - 1] ^= 0x80;
}

noinline_fn int arp_from_host(struct __sk_buff *skb, struct packet *p)
{
	__u8 reply[ETH_HLEN + sizeof(struct arp_ipv4)], mac[ETH_ALEN];
	const struct arp_ipv4 *arp = (void *)reply + ETH_HLEN;

	if (bpf_skb_load_bytes(skb, 0, reply, sizeof(reply)) < 0 || arp->op != bpf_htons(ARPOP_REQUEST) ||
	    !__builtin_memcmp(arp->sender_ip, arp->target_ip, 4))
		return TC_ACT_OK;
	mac_of_elsewhere(arp->sender_mac, mac);
	arp_turn(reply, mac);
	if (bpf_skb_store_bytes(skb, 0, reply, sizeof(reply), 0) < 0)
		return DROP(p, DROP_WRITE_ERROR);
	return bpf_redirect(skb->ifindex, BPF_F_INGRESS);
}

/* Turns the solicitation into the advertisement that answers it, and sends it by the same device, out (0) or in (BPF_F_INGRESS). */
inline_fn int nd_answer(struct __sk_buff *skb, struct packet *p, const struct addr *target, const __u8 *mac, __u64 direction)
{
	struct nd_message answer = {
		.hdr = { .type = ND_ADVERTISEMENT, .flags = bpf_htonl(ND_FLAGS) },
		.target = *target,
		.option = ND_TARGET_LINK_ADDRESS,
		.option_len = 1,
	};
	__be32 pseudo[2] = { bpf_htonl(sizeof(answer)), bpf_htonl(IPPROTO_ICMPV6) };
	__be16 payload_len = bpf_htons(sizeof(answer));
	__u8 eth[2 * ETH_ALEN];
	__s64 sum;

	__builtin_memcpy(answer.mac, mac, ETH_ALEN);
	sum = bpf_csum_diff(NULL, 0, (__be32 *)&answer, sizeof(answer), 0);
	sum = bpf_csum_diff(NULL, 0, (__be32 *)target, sizeof(*target), sum);
	sum = bpf_csum_diff(NULL, 0, (__be32 *)&p->tuple.saddr, sizeof(struct addr), sum);
	sum = bpf_csum_diff(NULL, 0, pseudo, sizeof(pseudo), sum);
	answer.hdr.check = csum_fold(sum);

	if (bpf_skb_load_bytes(skb, ETH_ALEN, eth, ETH_ALEN) < 0)
		return DROP(p, DROP_INVALID_PACKET);
	__builtin_memcpy(eth + ETH_ALEN, mac, ETH_ALEN);
	if (bpf_skb_change_tail(skb, L3_OFF + sizeof(struct ipv6hdr) + sizeof(answer), 0) < 0 ||
	    bpf_skb_store_bytes(skb, 0, eth, sizeof(eth), 0) < 0 ||
	    bpf_skb_store_bytes(skb, L3_OFF + __builtin_offsetof(struct ipv6hdr, payload_len), &payload_len, 2, 0) < 0 ||
	    bpf_skb_store_bytes(skb, L3_OFF + __builtin_offsetof(struct ipv6hdr, saddr), target, sizeof(*target), 0) < 0 ||
	    bpf_skb_store_bytes(skb, L3_OFF + __builtin_offsetof(struct ipv6hdr, daddr), &p->tuple.saddr,
				sizeof(struct addr), 0) < 0 ||
	    bpf_skb_store_bytes(skb, L3_OFF + sizeof(struct ipv6hdr), &answer, sizeof(answer), 0) < 0)
		return DROP(p, DROP_WRITE_ERROR);
	return bpf_redirect(skb->ifindex, direction);
}

noinline_fn int nd_from_endpoint(struct __sk_buff *skb, struct packet *p)
{
	const struct endpoint *sender = own_endpoint(skb, &p->tuple.saddr);
	bool link_local = addr_is_ipv6_link_local(&p->tuple.saddr);
	__u8 eth_dest[ETH_ALEN];
	struct addr target;
	bool target_is_own;

	if (sender) {
		p->endpoint_id = sender->id;
		p->src_identity = sender->identity;
	} else if (!link_local && !addr_is_zero(&p->tuple.saddr)) {
		return DROP(p, DROP_INVALID_SOURCE);
	}
	if (p->ttl != ND_HOP_LIMIT || p->icmp_code != 0 || p->l4_off != L3_OFF + sizeof(struct ipv6hdr))
		return DROP(p, DROP_FORBIDDEN_ICMP6);
	if (p->icmp_type != ND_SOLICITATION && p->icmp_type != ND_ADVERTISEMENT)
		return DROP(p, DROP_FORBIDDEN_ICMP6);
	if (bpf_skb_load_bytes(skb, p->l4_off + __builtin_offsetof(struct nd_message, target), &target, sizeof(target)) < 0)
		return DROP(p, DROP_INVALID_PACKET);
	target_is_own = own_endpoint(skb, &target) || addr_is_ipv6_link_local(&target);
	if (p->icmp_type == ND_ADVERTISEMENT)
		return target_is_own ? TC_ACT_OK : DROP(p, DROP_INVALID_SOURCE);
	if (target_is_own)
		return TC_ACT_OK;
	if (addr_is_zero(&p->tuple.saddr))
		return DROP(p, DROP_FORBIDDEN_ICMP6);
	if (sender)
		return nd_answer(skb, p, &target, sender->host_mac, 0);
	/* A probe from the link-local address is unicast to the MAC it asks about; that is the one to confirm. */
	if (bpf_skb_load_bytes(skb, 0, eth_dest, ETH_ALEN) < 0 || eth_dest[0] & 1)
		return DROP(p, DROP_FORBIDDEN_ICMP6);
	return nd_answer(skb, p, &target, eth_dest, 0);
}

/* Neighbour discovery at cilium_host: what the node asks is answered, the rest goes its way. */
noinline_fn int nd_from_host(struct __sk_buff *skb, struct packet *p)
{
	__u8 own[ETH_ALEN], mac[ETH_ALEN];
	struct addr target;

	if (p->icmp_type != ND_SOLICITATION || addr_is_zero(&p->tuple.saddr) || p->l4_off != L3_OFF + sizeof(struct ipv6hdr))
		return TC_ACT_OK;
	if (bpf_skb_load_bytes(skb, p->l4_off + __builtin_offsetof(struct nd_message, target), &target, sizeof(target)) < 0 ||
	    bpf_skb_load_bytes(skb, ETH_ALEN, own, ETH_ALEN) < 0)
		return DROP(p, DROP_INVALID_PACKET);
	mac_of_elsewhere(own, mac);
	return nd_answer(skb, p, &target, mac, BPF_F_INGRESS);
}
