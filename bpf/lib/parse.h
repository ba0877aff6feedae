/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * From bytes to struct packet.
 *
 * - Each header has one bounds check; what lies at a fixed offset is read directly, the rest through bpf_skb_load_bytes.
 * - parse_ip leaves tuple ports of later fragments at zero; fragment_track fills them.
 */
#pragma once

#include "packet.h"

#undef SOURCE_FILE
#define SOURCE_FILE SOURCE_PARSE

/* What is pulled when the network header is not linear. */
#define HEADERS_PULL 128
/* Extension headers of IPv6 before the packet is dropped. */
#define IPV6_EXTENSIONS_MAX 6

#define NEXTHDR_FRAGMENT 44
#define NEXTHDR_AUTH 51
#define NEXTHDR_NONE 59

#define IPV4_FRAGMENT_MORE 0x2000
#define IPV4_FRAGMENT_OFFSET 0x1fff
#define IPV6_FRAGMENT_MORE 0x0001
#define IPV6_FRAGMENT_OFFSET 0xfff8

#define SCTP_CHUNK_OFF 12
#define SCTP_INIT 1
#define SCTP_ABORT 6
#define SCTP_SHUTDOWN 7
#define SCTP_SHUTDOWN_ACK 8
#define SCTP_SHUTDOWN_COMPLETE 14

#define TCP_FLAGS_OFF 13

struct ipv6_extension {
	__u8 nexthdr;
	__u8 len; /* in 8 bytes beyond the first 8; AH: in 4 bytes beyond the first 8 */
};

struct ipv6_fragment {
	__u8 nexthdr;
	__u8 pad;
	__be16 offset;
	__be32 id;
};

/* The head of a transport header, as much as any of them needs. */
union l4_header {
	__u32 w[5];
	__u8 bytes[20];
	struct {
		__be16 sport;
		__be16 dport;
	};
	struct {
		__u8 type;
		__u8 code;
		__be16 check;
		__be16 id;
	} icmp;
};


/*
 * Makes the network header linear; packet pointers taken before are void. No more than that: what a socket sends has its headers linear
 * and its payload in pages, and one byte pulled from there copies the head of a packet that TCP still holds (a tenth of a bulk stream).
 */
inline_fn void pull_headers(struct __sk_buff *skb)
{
	long linear = (long)skb->data_end - (long)skb->data;
	long wanted = ETH_HLEN + (skb->protocol == bpf_htons(ETH_P_IPV6) ? sizeof(struct ipv6hdr) : sizeof(struct iphdr));

	if (linear < wanted && skb->len > (__u32)linear)
		bpf_skb_pull_data(skb, skb->len < HEADERS_PULL ? skb->len : HEADERS_PULL);
}

inline_fn bool has_ports(__u8 proto)
{
	return proto == IPPROTO_TCP || proto == IPPROTO_UDP || proto == IPPROTO_SCTP;
}

/* Loads the transport header at any offset, for what has no fixed one or is shorter than the union. */
noinline_fn int load_l4(struct __sk_buff *skb, __u32 off, __u8 proto, union l4_header *h)
{
	switch (proto) {
	case IPPROTO_TCP:
		return bpf_skb_load_bytes(skb, off, h, sizeof(struct tcphdr));
	case IPPROTO_SCTP:
		return bpf_skb_load_bytes(skb, off, h, SCTP_CHUNK_OFF + 1);
	case IPPROTO_UDP:
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		return bpf_skb_load_bytes(skb, off, h, 8);
	}
	return 0;
}

inline_fn __u8 sctp_as_tcp_flags(__u8 chunk)
{
	switch (chunk) {
	case SCTP_INIT:
		return TCP_FLAG_SYN;
	case SCTP_ABORT:
		return TCP_FLAG_RST;
	case SCTP_SHUTDOWN:
	case SCTP_SHUTDOWN_ACK:
	case SCTP_SHUTDOWN_COMPLETE:
		return TCP_FLAG_FIN;
	}
	return 0;
}

inline_fn bool icmp_type_is_error(__u8 proto, __u8 type)
{
	if (proto == IPPROTO_ICMPV6)
		return type >= ICMPV6_DEST_UNREACH && type <= ICMPV6_PARAMPROB;
	return type == ICMP_DEST_UNREACH || type == ICMP_TIME_EXCEEDED || type == ICMP_PARAMETERPROB ||
	       type == ICMP_SOURCE_QUENCH;
}

/* An ICMP error carries the head of the packet it is about. */
inline_fn bool icmp_is_error(const struct packet *p)
{
	return is_icmp(p->tuple.proto) && p->fragment != FRAGMENT_LATER && icmp_type_is_error(p->tuple.proto, p->icmp_type);
}

/* Ports as struct tuple wants them; anything but an echo has none. */
inline_fn void icmp_ports(const union l4_header *h, struct tuple *t)
{
	bool v6 = t->proto == IPPROTO_ICMPV6;

	if (h->icmp.type == (v6 ? ICMPV6_ECHO_REQUEST : ICMP_ECHO))
		t->sport = h->icmp.id;
	else if (h->icmp.type == (v6 ? ICMPV6_ECHO_REPLY : ICMP_ECHOREPLY))
		t->dport = h->icmp.id;
}

/* `plain`: nothing lies between the network header and `at`. */
inline_fn int parse_l4(struct __sk_buff *skb, struct packet *p, bool plain, const void *at, const void *end)
{
	union l4_header h = {};

	if (p->fragment == FRAGMENT_LATER)
		return 0;
	if (plain && at + sizeof(h) <= end)
		__builtin_memcpy(&h, at, sizeof(h));
	else if (load_l4(skb, p->l4_off, p->tuple.proto, &h) < 0)
		return DROP(p, DROP_CT_INVALID_HEADER);
	if (has_ports(p->tuple.proto)) {
		p->tuple.sport = h.sport;
		p->tuple.dport = h.dport;
		p->policy_port = h.dport;
		if (p->tuple.proto == IPPROTO_TCP)
			p->tcp_flags = h.bytes[TCP_FLAGS_OFF];
		else if (p->tuple.proto == IPPROTO_SCTP)
			p->tcp_flags = sctp_as_tcp_flags(h.bytes[SCTP_CHUNK_OFF]);
	} else if (p->tuple.proto == (p->ipv6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP)) {
		p->icmp_type = h.icmp.type;
		p->icmp_code = h.icmp.code;
		p->policy_port = bpf_htons(h.icmp.type);
		icmp_ports(&h, &p->tuple);
	}
	return 0;
}

inline_fn int parse_ipv4(struct __sk_buff *skb, struct packet *p)
{
	const void *data = (void *)(long)skb->data;
	const void *end = (void *)(long)skb->data_end;
	const struct iphdr *ip = data + L3_OFF;
	__u16 fragment;

	if ((void *)(ip + 1) > end || ip->version != 4 || ip->ihl < 5)
		return DROP(p, DROP_INVALID_PACKET);
	addr_from_ipv4(&p->tuple.saddr, ip->saddr);
	addr_from_ipv4(&p->tuple.daddr, ip->daddr);
	p->tuple.proto = ip->protocol;
	p->ttl = ip->ttl;
	p->l4_off = L3_OFF + ip->ihl * 4;
	fragment = bpf_ntohs(ip->frag_off);
	if (fragment & (IPV4_FRAGMENT_MORE | IPV4_FRAGMENT_OFFSET)) {
		p->fragment = fragment & IPV4_FRAGMENT_OFFSET ? FRAGMENT_LATER : FRAGMENT_FIRST;
		p->fragment_id = ip->id;
	}
	return parse_l4(skb, p, ip->ihl == 5, ip + 1, end);
}

/* Where the chain of extension headers ends. */
struct ipv6_chain {
	__u32 off;
	__be32 fragment_id;
	__u8 proto;
	__u8 fragment;
};

/* Walks from `chain->off`, whose header is of kind `chain->proto`. Negative: not to be understood. */
noinline_fn int ipv6_walk(struct __sk_buff *skb, struct ipv6_chain *chain)
{
	struct ipv6_fragment fragment;
	struct ipv6_extension ext;

	for (int i = 0; i < IPV6_EXTENSIONS_MAX; i++) {
		switch (chain->proto) {
		case IPPROTO_HOPOPTS:
		case IPPROTO_ROUTING:
		case IPPROTO_DSTOPTS:
		case NEXTHDR_AUTH:
			if (bpf_skb_load_bytes(skb, chain->off, &ext, sizeof(ext)) < 0)
				return -1;
			chain->off += chain->proto == NEXTHDR_AUTH ? (ext.len + 2) * 4 : (ext.len + 1) * 8;
			chain->proto = ext.nexthdr;
			break;
		case NEXTHDR_FRAGMENT:
			if (bpf_skb_load_bytes(skb, chain->off, &fragment, sizeof(fragment)) < 0)
				return -1;
			chain->off += sizeof(fragment);
			chain->proto = fragment.nexthdr;
			/* An "atomic" fragment (RFC 6946) is a whole packet. */
			if (fragment.offset & bpf_htons(IPV6_FRAGMENT_MORE | IPV6_FRAGMENT_OFFSET)) {
				chain->fragment_id = fragment.id;
				chain->fragment =
					fragment.offset & bpf_htons(IPV6_FRAGMENT_OFFSET) ? FRAGMENT_LATER : FRAGMENT_FIRST;
			}
			if (chain->fragment == FRAGMENT_LATER)
				return 0;
			break;
		default:
			return 0;
		}
	}
	return -1;
}

inline_fn bool is_ipv6_extension(__u8 nexthdr)
{
	return nexthdr == IPPROTO_HOPOPTS || nexthdr == IPPROTO_ROUTING || nexthdr == IPPROTO_DSTOPTS ||
	       nexthdr == NEXTHDR_AUTH || nexthdr == NEXTHDR_FRAGMENT;
}

inline_fn int parse_ipv6(struct __sk_buff *skb, struct packet *p)
{
	const void *data = (void *)(long)skb->data;
	const void *end = (void *)(long)skb->data_end;
	const struct ipv6hdr *ip = data + L3_OFF;
	bool plain = true;

	if ((void *)(ip + 1) > end || ip->version != 6)
		return DROP(p, DROP_INVALID_PACKET);
	p->ipv6 = 1;
	__builtin_memcpy(&p->tuple.saddr, &ip->saddr, sizeof(struct addr));
	__builtin_memcpy(&p->tuple.daddr, &ip->daddr, sizeof(struct addr));
	p->tuple.proto = ip->nexthdr;
	p->ttl = ip->hop_limit;
	p->l4_off = L3_OFF + sizeof(*ip);
	if (is_ipv6_extension(ip->nexthdr)) {
		struct ipv6_chain chain = { .off = p->l4_off, .proto = ip->nexthdr };

		if (ipv6_walk(skb, &chain) < 0)
			return DROP(p, DROP_INVALID_EXTHDR);
		p->tuple.proto = chain.proto;
		p->l4_off = chain.off;
		p->fragment = chain.fragment;
		p->fragment_id = chain.fragment_id;
		plain = false;
	}
	return parse_l4(skb, p, plain, ip + 1, end);
}

/* skb->protocol says which; the caller has ruled out everything else. */
inline_fn int parse_ip(struct __sk_buff *skb, struct packet *p)
{
	return skb->protocol == bpf_htons(ETH_P_IP) ? parse_ipv4(skb, p) : parse_ipv6(skb, p);
}
