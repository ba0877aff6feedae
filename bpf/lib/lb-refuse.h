/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Answers in the name of a frontend: TCP RST, ICMP port unreachable, fragmentation needed. The packet becomes its own answer.
 *
 * - Only packets without IPv4 options, IPv6 extension headers and fragments are answered; the others are dropped as they are.
 */
#pragma once

#include "checksum.h"
#include "events.h"
#include "lb.h"
#include "overlay.h"

#undef SOURCE_FILE
#define SOURCE_FILE SOURCE_LB_REFUSE

#define ANSWER_TTL 64
#define ICMP_PORT_UNREACH 3
#define ICMPV6_PORT_UNREACH 4
/* An error's header, the network header it is about and 8 bytes more. */
#define ICMP_HEADER 8
#define QUOTE_IPV4 (sizeof(struct iphdr) + 8)
#define QUOTE_IPV6 (sizeof(struct ipv6hdr) + 8)

/* What is behind the network header of an answer; the longer of the two kinds. */
struct answer {
	__u8 bytes[ICMP_HEADER + QUOTE_IPV6];
};

inline_fn bool is_answerable(const struct packet *p)
{
	return !p->fragment && p->l4_off == L3_OFF + (p->ipv6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr));
}

/* The sum over a pseudo header, from the frontend to the client. */
inline_fn __s64 answer_pseudo(const struct packet *p, __u8 proto, __u32 len)
{
	__be32 rest[2] = { bpf_htonl(len), bpf_htonl(proto) };
	__s64 sum = 0;

	if (p->ipv6) {
		sum = bpf_csum_diff(NULL, 0, (__be32 *)&p->tuple.daddr, 16, sum);
		sum = bpf_csum_diff(NULL, 0, (__be32 *)&p->tuple.saddr, 16, sum);
	} else {
		sum = bpf_csum_diff(NULL, 0, (__be32 *)&p->tuple.daddr.w[3], 4, sum);
		sum = bpf_csum_diff(NULL, 0, (__be32 *)&p->tuple.saddr.w[3], 4, sum);
	}
	return bpf_csum_diff(NULL, 0, rest, sizeof(rest), sum);
}

/* Puts Ethernet and network header of an answer of `len` bytes behind them in the place of the packet's. */
inline_fn int answer_headers(struct __sk_buff *skb, const struct packet *p, __u8 proto, __u32 len)
{
	__u8 eth[2 * ETH_ALEN], swapped[2 * ETH_ALEN];

	if (bpf_skb_load_bytes(skb, 0, eth, sizeof(eth)) < 0)
		return -1;
	__builtin_memcpy(swapped, eth + ETH_ALEN, ETH_ALEN);
	__builtin_memcpy(swapped + ETH_ALEN, eth, ETH_ALEN);
	if (bpf_skb_store_bytes(skb, 0, swapped, sizeof(swapped), 0) < 0)
		return -1;
	if (p->ipv6) {
		struct ipv6hdr ip = { .version = 6, .nexthdr = proto, .hop_limit = ANSWER_TTL };

		ip.payload_len = bpf_htons(len);
		__builtin_memcpy(&ip.saddr, &p->tuple.daddr, sizeof(struct addr));
		__builtin_memcpy(&ip.daddr, &p->tuple.saddr, sizeof(struct addr));
		return bpf_skb_store_bytes(skb, L3_OFF, &ip, sizeof(ip), 0);
	}
	struct iphdr ip = { .version = 4, .ihl = 5, .ttl = ANSWER_TTL, .protocol = proto };

	ip.tot_len = bpf_htons(sizeof(ip) + len);
	ip.saddr = p->tuple.daddr.w[3];
	ip.daddr = p->tuple.saddr.w[3];
	ip.check = csum_fold(bpf_csum_diff(NULL, 0, (__be32 *)&ip, sizeof(ip), 0));
	return bpf_skb_store_bytes(skb, L3_OFF, &ip, sizeof(ip), 0);
}

inline_fn __u32 answer_l4_off(const struct packet *p)
{
	return L3_OFF + (p->ipv6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr));
}

/* RFC 9293, 3.10.7.1: a segment without ACK is acknowledged, one with it is believed. */
noinline_fn int answer_rst(struct __sk_buff *skb, struct packet *p)
{
	struct tcphdr tcp, rst = { .doff = sizeof(struct tcphdr) / 4, .rst = 1 };
	__s64 sum;

	if (p->tcp_flags & TCP_FLAG_RST || bpf_skb_load_bytes(skb, p->l4_off, &tcp, sizeof(tcp)) < 0)
		return -1;
	rst.source = tcp.dest;
	rst.dest = tcp.source;
	if (p->tcp_flags & TCP_FLAG_ACK) {
		rst.seq = tcp.ack_seq;
	} else {
		rst.ack = 1;
		rst.ack_seq = bpf_htonl(bpf_ntohl(tcp.seq) + !!(p->tcp_flags & TCP_FLAG_SYN));
	}
	sum = answer_pseudo(p, IPPROTO_TCP, sizeof(rst));
	rst.check = csum_fold(bpf_csum_diff(NULL, 0, (__be32 *)&rst, sizeof(rst), sum));
	if (bpf_skb_change_tail(skb, answer_l4_off(p) + sizeof(rst), 0) < 0)
		return -1;
	if (answer_headers(skb, p, IPPROTO_TCP, sizeof(rst)) < 0)
		return -1;
	return bpf_skb_store_bytes(skb, answer_l4_off(p), &rst, sizeof(rst), 0);
}

/* An ICMP error about the packet; `rest` are the four bytes behind the checksum. */
noinline_fn int answer_icmp(struct __sk_buff *skb, struct packet *p, __u8 type, __u8 code, __be32 rest)
{
	__u8 proto = p->ipv6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP;
	__u32 len = ICMP_HEADER + (p->ipv6 ? QUOTE_IPV6 : QUOTE_IPV4);
	struct answer answer = {};
	__u16 check;
	__s64 sum;

	answer.bytes[0] = type;
	answer.bytes[1] = code;
	*(__be32 *)(answer.bytes + 4) = rest;
	sum = p->ipv6 ? answer_pseudo(p, proto, len) : 0;
	if (p->ipv6) {
		if (bpf_skb_load_bytes(skb, L3_OFF, answer.bytes + ICMP_HEADER, QUOTE_IPV6) < 0)
			return -1;
	} else if (bpf_skb_load_bytes(skb, L3_OFF, answer.bytes + ICMP_HEADER, QUOTE_IPV4) < 0) {
		return -1;
	}
	/* What is behind an IPv4 quote is zero. */
	check = csum_fold(bpf_csum_diff(NULL, 0, (__be32 *)answer.bytes, sizeof(answer), sum));
	*(__u16 *)(answer.bytes + ICMP_CSUM_OFF) = check;
	if (bpf_skb_change_tail(skb, answer_l4_off(p) + len, 0) < 0)
		return -1;
	if (answer_headers(skb, p, proto, len) < 0)
		return -1;
	return p->ipv6 ? bpf_skb_store_bytes(skb, answer_l4_off(p), &answer, ICMP_HEADER + QUOTE_IPV6, 0) :
			 bpf_skb_store_bytes(skb, answer_l4_off(p), &answer, ICMP_HEADER + QUOTE_IPV4, 0);
}

/* Back where the packet came from: into the pod, through the tunnel, or out of the device. */
inline_fn int answer_send(struct __sk_buff *skb, struct packet *p, bool to_pod)
{
	if (to_pod)
		return bpf_redirect_peer(skb->ifindex, 0);
	if (p->carried_identity)
		return overlay_answer(skb, p);
	mark_translated(skb);
	return bpf_redirect(skb->ifindex, 0);
}

/* There is no backend. Counted and told as a drop, and the client hears of it. */
noinline_fn int service_refuse(struct __sk_buff *skb, struct packet *p, bool to_pod)
{
	int ret;

	if (!is_answerable(p))
		return DROP(p, DROP_NO_SERVICE);
	DROP(p, DROP_NO_SERVICE);
	verdict(skb, p, DROPPED);
	if (p->tuple.proto == IPPROTO_TCP)
		ret = answer_rst(skb, p);
	else
		ret = p->ipv6 ? answer_icmp(skb, p, ICMPV6_DEST_UNREACH, ICMPV6_PORT_UNREACH, 0) :
				answer_icmp(skb, p, ICMP_DEST_UNREACH, ICMP_PORT_UNREACH, 0);
	return ret < 0 ? TC_ACT_SHOT : answer_send(skb, p, to_pod);
}

/* The way to the backend takes no more than `mtu` bytes. */
noinline_fn int service_too_big(struct __sk_buff *skb, struct packet *p, __u32 mtu)
{
	int ret;

	DROP(p, DROP_FRAG_NEEDED);
	if (!is_answerable(p))
		return DROPPED;
	verdict(skb, p, DROPPED);
	ret = p->ipv6 ? answer_icmp(skb, p, ICMPV6_PKT_TOOBIG, 0, bpf_htonl(mtu)) :
			answer_icmp(skb, p, ICMP_DEST_UNREACH, ICMP_FRAG_NEEDED, bpf_htonl(mtu));
	return ret < 0 ? TC_ACT_SHOT : answer_send(skb, p, false);
}
