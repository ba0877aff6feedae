// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * The fast way through a node for services: packets of clients outside to backends on other nodes, and their replies, are sent on before
 * the kernel makes an skb of them.
 *
 * - Only what is settled is done here: connections whose flow, conntrack and NAT entries exist and need no look. Everything else passes to
 *   from_netdev, the one place that chooses, admits, refuses, drops and tells: the first packet of a connection, new TCP flags, a packet
 *   per trace interval, fragments, options, ICMP, pods of this node.
 * - Writes what from_netdev would write: expiry in conntrack, the forwarded counter.
 * - A packet from a local sender whose checksum is left to its device must not come here: XDP can't know. Native devices never show one.
 */
#include "lib/packet.h"

#include "lib/events.h"
#include "lib/lb-flow.h"
#include "lib/nat.h"

/* Headers as they nearly always are; false: something for from_netdev. */
inline_fn bool xdp_parse_l4(struct packet *p, const void *l4, const void *end)
{
	const __be16 *ports = l4;

	if (p->tuple.proto == IPPROTO_TCP) {
		if (l4 + sizeof(struct tcphdr) > end)
			return false;
		p->tcp_flags = ((const __u8 *)l4)[TCP_FLAGS_OFF];
	} else if (p->tuple.proto != IPPROTO_UDP || l4 + sizeof(struct udphdr) > end) {
		return false;
	}
	p->tuple.sport = ports[0];
	p->tuple.dport = ports[1];
	return true;
}

inline_fn bool xdp_parse(struct xdp_md *ctx, struct packet *p)
{
	const void *data = (void *)(long)ctx->data;
	const void *end = (void *)(long)ctx->data_end;
	const struct ethhdr *eth = data;
	const struct ipv6hdr *ip6 = data + L3_OFF;
	const struct iphdr *ip = data + L3_OFF;

	if ((void *)(ip + 1) > end)
		return false;
	if (eth->h_proto == bpf_htons(ETH_P_IP)) {
		if (ip->version != 4 || ip->ihl != 5 || ip->frag_off & bpf_htons(IPV4_FRAGMENT_MORE | IPV4_FRAGMENT_OFFSET))
			return false;
		addr_from_ipv4(&p->tuple.saddr, ip->saddr);
		addr_from_ipv4(&p->tuple.daddr, ip->daddr);
		p->tuple.proto = ip->protocol;
		p->ttl = ip->ttl;
		return xdp_parse_l4(p, ip + 1, end);
	}
	if (eth->h_proto != bpf_htons(ETH_P_IPV6) || (void *)(ip6 + 1) > end || ip6->version != 6)
		return false;
	p->ipv6 = 1;
	__builtin_memcpy(&p->tuple.saddr, &ip6->saddr, sizeof(struct addr));
	__builtin_memcpy(&p->tuple.daddr, &ip6->daddr, sizeof(struct addr));
	p->tuple.proto = ip6->nexthdr;
	p->ttl = ip6->hop_limit;
	return xdp_parse_l4(p, ip6 + 1, end);
}

/* Asks the way to p->tuple's destination; false: none that can be gone from here. */
noinline_fn bool xdp_route(struct xdp_md *ctx, struct packet *p)
{
	struct bpf_fib_lookup *fib = &p->fib;
	const struct netdev *netdev;

	__builtin_memset(fib, 0, sizeof(*fib));
	fib->family = p->ipv6 ? 10 /* AF_INET6 */ : 2 /* AF_INET */;
	fib->l4_protocol = p->tuple.proto;
	fib->sport = p->tuple.sport;
	fib->dport = p->tuple.dport;
	fib->tot_len = ctx->data_end - ctx->data - L3_OFF;
	fib->ifindex = ctx->ingress_ifindex;
	if (p->ipv6) {
		__builtin_memcpy(fib->ipv6_src, &p->tuple.saddr, sizeof(struct addr));
		__builtin_memcpy(fib->ipv6_dst, &p->tuple.daddr, sizeof(struct addr));
	} else {
		fib->ipv4_src = p->tuple.saddr.w[3];
		fib->ipv4_dst = p->tuple.daddr.w[3];
	}
	if (bpf_fib_lookup(ctx, fib, sizeof(*fib), 0) != BPF_FIB_LKUP_RET_SUCCESS)
		return false;
	if (fib->ifindex == ctx->ingress_ifindex)
		return true;
	netdev = bpf_map_lookup_elem(&netdevs, &fib->ifindex);
	return netdev && netdev->flags & NETDEV_XDP;
}

/* A packet that changes nothing but times. What else there is to do or to tell is from_netdev's. */
inline_fn bool xdp_is_settled(const struct packet *p, const struct ct_entry *entry)
{
	bool reply = p->ct_state == CT_STATE_REPLY;
	__u8 signs = p->tcp_flags & (TCP_FLAG_SYN | TCP_FLAG_FIN | TCP_FLAG_RST);
	__u16 last_report = reply ? entry->last_report[1] : entry->last_report[0];

	if (signs & ~(reply ? entry->tcp_flags[1] : entry->tcp_flags[0]))
		return false;
	return (__u16)(p->now - last_report) < config.trace_interval && entry->flags & CT_SERVICE;
}

/* The checksum at `check` after addresses and ports became others. */
inline_fn void xdp_fix_l4(__u16 *check, bool is_udp, __s64 diff)
{
	__u16 new;

	if (is_udp && *check == 0)
		return;
	new = csum_after(*check, diff);
	*check = is_udp && new == 0 ? 0xffff : new;
}

/* Puts p->tuple in the place of `before`, and the way of p->fib. */
noinline_fn bool xdp_rewrite(struct xdp_md *ctx, struct packet *p, const struct tuple *before)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	bool is_udp = p->tuple.proto == IPPROTO_UDP;
	struct ipv6hdr *ip6 = data + L3_OFF;
	struct iphdr *ip = data + L3_OFF;
	struct ethhdr *eth = data;
	__s64 addrs, all;
	__u32 check;
	void *l4;

	addrs = bpf_csum_diff((__be32 *)&before->saddr, 2 * sizeof(struct addr), (__be32 *)&p->tuple.saddr,
			      2 * sizeof(struct addr), 0);
	all = bpf_csum_diff((__be32 *)&before->sport, 4, (__be32 *)&p->tuple.sport, 4, addrs);
	if (p->ipv6) {
		if ((void *)(ip6 + 1) > end)
			return false;
		__builtin_memcpy(&ip6->saddr, &p->tuple.saddr, sizeof(struct addr));
		__builtin_memcpy(&ip6->daddr, &p->tuple.daddr, sizeof(struct addr));
		ip6->hop_limit--;
		l4 = ip6 + 1;
	} else {
		if ((void *)(ip + 1) > end)
			return false;
		ip->saddr = p->tuple.saddr.w[3];
		ip->daddr = p->tuple.daddr.w[3];
		/* RFC 1141, as in ttl_decrement. */
		check = csum_after(ip->check, addrs);
		check += bpf_htons(0x0100);
		ip->check = check + (check >= 0xffff);
		ip->ttl--;
		l4 = ip + 1;
	}
	if (l4 + (is_udp ? sizeof(struct udphdr) : sizeof(struct tcphdr)) > end)
		return false;
	((__be16 *)l4)[0] = p->tuple.sport;
	((__be16 *)l4)[1] = p->tuple.dport;
	xdp_fix_l4(l4 + (is_udp ? UDP_CSUM_OFF : TCP_CSUM_OFF), is_udp, all);
	__builtin_memcpy(eth->h_dest, p->fib.dmac, ETH_ALEN);
	__builtin_memcpy(eth->h_source, p->fib.smac, ETH_ALEN);
	return true;
}

/* Sends on what has been decided. Until here nothing was written. */
inline_fn int xdp_send(struct xdp_md *ctx, struct packet *p, const struct tuple *before, struct ct_entry *entry)
{
	__u32 ifindex = ctx->ingress_ifindex;

	if (!xdp_route(ctx, p) || !xdp_rewrite(ctx, p, before))
		return XDP_PASS;
	ct_update(p, entry);
	count_bytes(ctx->data_end - ctx->data, REASON_FORWARDED, DIRECTION_INGRESS);
	return p->fib.ifindex == ifindex ? XDP_TX : bpf_redirect(p->fib.ifindex, 0);
}

/* From a client to a frontend whose backend is on another node. */
noinline_fn int xdp_to_backend(struct xdp_md *ctx, struct packet *p)
{
	struct service_flow_key key = {};
	struct nat_key nat_key = {};
	const struct service_flow *flow;
	const struct nat_entry *source;
	struct tuple before = p->tuple;
	struct ct_entry *entry;

	service_key_of(&p->tuple, SERVICE_FORWARD, &key);
	flow = bpf_map_lookup_elem(&service_flows, &key);
	if (!flow || flow->flags & SERVICE_HAIRPIN || endpoint_of(&flow->addr))
		return XDP_PASS;
	p->tuple.daddr = flow->addr;
	p->tuple.dport = flow->port;
	entry = ct_find(p);
	if (!entry || p->ct_state != CT_STATE_ESTABLISHED || !xdp_is_settled(p, entry) ||
	    p->now - flow->verified >= SERVICE_VERIFY_INTERVAL)
		return XDP_PASS;
	p->chosen.addr = flow->addr;
	p->chosen.port = flow->port;
	p->backend_id = flow->backend_id;
	if (service_begins(p) && !service_backend_stands(p))
		return XDP_PASS;
	p->service = SERVICE_TO_BACKEND;
	if (flow->flags & SERVICE_DSR) {
		/* With an option, then. */
		if (service_begins(p))
			return XDP_PASS;
	} else {
		nat_key_of(p, DIRECTION_EGRESS, &nat_key);
		source = bpf_map_lookup_elem(&nat, &nat_key);
		if (!source || p->now - source->verified >= NAT_VERIFY_INTERVAL)
			return XDP_PASS;
		p->tuple.saddr = source->addr;
		p->tuple.sport = source->port;
	}
	return xdp_send(ctx, p, &before, entry);
}

/* From a backend on another node, to a client outside. */
noinline_fn int xdp_to_client(struct xdp_md *ctx, struct packet *p)
{
	struct service_flow_key key = {};
	struct nat_key nat_key = {};
	const struct service_flow *flow;
	const struct nat_entry *client;
	struct tuple before = p->tuple;
	struct ct_entry *entry;

	nat_key_of(p, DIRECTION_INGRESS, &nat_key);
	client = bpf_map_lookup_elem(&nat, &nat_key);
	if (!client || endpoint_of(&client->addr))
		return XDP_PASS;
	p->tuple.daddr = client->addr;
	p->tuple.dport = client->port;
	entry = ct_find(p);
	if (!entry || p->ct_state != CT_STATE_REPLY || !xdp_is_settled(p, entry))
		return XDP_PASS;
	service_key_of(&p->tuple, SERVICE_REPLY, &key);
	flow = bpf_map_lookup_elem(&service_flows, &key);
	if (!flow)
		return XDP_PASS;
	p->tuple.saddr = flow->addr;
	p->tuple.sport = flow->port;
	return xdp_send(ctx, p, &before, entry);
}

SEC("xdp")
int xdp_netdev(struct xdp_md *ctx)
{
	__u32 ifindex = ctx->ingress_ifindex;
	const struct netdev *netdev = bpf_map_lookup_elem(&netdevs, &ifindex);
	struct packet *p = packet_begin(DIRECTION_INGRESS);

	/* Below medium aggregation every packet is told of. */
	if (!netdev || !p || !config.services || config.trace_aggregation < TRACE_MEDIUM)
		return XDP_PASS;
	/* What leaves from here does not come by to_netdev, which encrypts. */
	if (config.encryption != ENCRYPTION_NONE)
		return XDP_PASS;
	if (!xdp_parse(ctx, p) || p->ttl <= 1)
		return XDP_PASS;
	if (nat_port_in_range(p->tuple.dport) && addr_equal(&p->tuple.daddr, p->ipv6 ? &netdev->ipv6 : &netdev->ipv4))
		return xdp_to_client(ctx, p);
	return xdp_to_backend(ctx, p);
}

char _license[] SEC("license") = "Dual BSD/GPL";
