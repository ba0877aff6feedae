/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Putting another address and port into a packet, every checksum kept right.
 *
 * - A sum that the sender's NIC would complete (CHECKSUM_PARTIAL) or the receiver's has made (CHECKSUM_COMPLETE) lives in the skb:
 *   only the helpers know it, so transport sums go through bpf_l4_csum_replace.
 * - For IPv6 BPF_F_RECOMPUTE_CSUM on the address and BPF_F_PSEUDO_HDR on the sum cancel each other in CHECKSUM_COMPLETE, as the
 *   header checksum does for IPv4.
 */
#pragma once

#include "checksum.h"
#include "crc32c.h"
#include "icmp-inner.h"

#undef SOURCE_FILE
#define SOURCE_FILE SOURCE_REWRITE

#define CSUM_OFF_NONE 0
#define TCP_CSUM_OFF 16
#define UDP_CSUM_OFF 6
#define ICMP_CSUM_OFF 2
#define ICMP_ID_OFF 4
#define IPV4_CSUM_OFF 10
#define SCTP_CSUM_OFF 8

inline_fn __u32 ip_addr_off(const struct packet *p, bool source)
{
	if (p->ipv6)
		return source ? __builtin_offsetof(struct ipv6hdr, saddr) : __builtin_offsetof(struct ipv6hdr, daddr);
	return source ? __builtin_offsetof(struct iphdr, saddr) : __builtin_offsetof(struct iphdr, daddr);
}

inline_fn __u32 l4_csum_off(__u8 proto)
{
	switch (proto) {
	case IPPROTO_TCP:
		return TCP_CSUM_OFF;
	case IPPROTO_UDP:
		return UDP_CSUM_OFF;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		return ICMP_CSUM_OFF;
	}
	return CSUM_OFF_NONE;
}

inline_fn __u32 l4_port_off(__u8 proto, bool source)
{
	if (is_icmp(proto))
		return ICMP_ID_OFF;
	return source ? 0 : 2;
}

/* Stores an address and keeps the IPv4 header's sum, or for IPv6 the whole-packet sum of the NIC, right. */
inline_fn int store_addr(struct __sk_buff *skb, const struct packet *p, bool source, const struct addr *old,
			 const struct addr *new)
{
	__u32 off = L3_OFF + ip_addr_off(p, source);

	if (p->ipv6)
		return bpf_skb_store_bytes(skb, off, new, sizeof(*new), BPF_F_RECOMPUTE_CSUM);
	if (bpf_l3_csum_replace(skb, L3_OFF + IPV4_CSUM_OFF, old->w[3], new->w[3], 4) < 0)
		return -1;
	return bpf_skb_store_bytes(skb, off, &new->w[3], 4, 0);
}

/* Bytes from the transport header to the packet's end, as the network header says. */
inline_fn int l4_length(struct __sk_buff *skb, const struct packet *p)
{
	__be16 length;
	__u32 off = p->ipv6 ? __builtin_offsetof(struct ipv6hdr, payload_len) : __builtin_offsetof(struct iphdr, tot_len);

	if (bpf_skb_load_bytes(skb, L3_OFF + off, &length, sizeof(length)) < 0)
		return -1;
	return bpf_ntohs(length) + (p->ipv6 ? (int)sizeof(struct ipv6hdr) : 0) + L3_OFF - p->l4_off;
}

/* SCTP's sum covers its ports, and all that follows: not known in a fragment. Where the sum is left to a device, what is here is not looked at. */
inline_fn int store_sctp_port(struct __sk_buff *skb, const struct packet *p, bool source, __be16 old, __be16 new)
{
	__u32 difference = (__u32)(old ^ new) << (source ? 0 : 16), check;
	int length = l4_length(skb, p);

	if (length < (int)sizeof(difference) || bpf_skb_load_bytes(skb, p->l4_off + SCTP_CSUM_OFF, &check, sizeof(check)) < 0)
		return -1;
	check ^= crc32c_difference(difference, length);
	if (bpf_skb_store_bytes(skb, p->l4_off + SCTP_CSUM_OFF, &check, sizeof(check), 0) < 0)
		return -1;
	return bpf_skb_store_bytes(skb, p->l4_off + l4_port_off(IPPROTO_SCTP, source), &new, sizeof(new), 0);
}

/*
 * Puts another source or destination in the packet. A later fragment has no transport header; the sum in the first one covers
 * the whole datagram.
 */
noinline_fn int nat_rewrite(struct __sk_buff *skb, struct packet *p, bool source, const struct nat_entry *to)
{
	struct addr *addr = source ? &p->tuple.saddr : &p->tuple.daddr;
	__be16 *port = source ? &p->tuple.sport : &p->tuple.dport;
	__u32 csum_off = l4_csum_off(p->tuple.proto);
	__u64 flags = p->tuple.proto == IPPROTO_UDP ? BPF_F_MARK_MANGLED_0 : 0;
	struct addr new = to->addr;
	__be16 new_port = to->port;
	__s64 diff;

	if (addr_equal(addr, &new) && *port == new_port)
		return 0;
	diff = bpf_csum_diff((__be32 *)addr, sizeof(*addr), (__be32 *)&new, sizeof(new), 0);
	if (store_addr(skb, p, source, addr, &new) < 0)
		return DROP(p, DROP_WRITE_ERROR);
	if (p->fragment != FRAGMENT_LATER && csum_off != CSUM_OFF_NONE) {
		/* ICMPv4 is the one without addresses in its sum. */
		if (p->tuple.proto != IPPROTO_ICMP &&
		    bpf_l4_csum_replace(skb, p->l4_off + csum_off, 0, diff, flags | BPF_F_PSEUDO_HDR) < 0)
			return DROP(p, DROP_L4_CSUM);
		if (*port != new_port) {
			if (bpf_l4_csum_replace(skb, p->l4_off + csum_off, *port, new_port, flags | 2) < 0)
				return DROP(p, DROP_L4_CSUM);
			if (bpf_skb_store_bytes(skb, p->l4_off + l4_port_off(p->tuple.proto, source), &new_port, 2, 0) < 0)
				return DROP(p, DROP_WRITE_ERROR);
		}
	}
	if (p->tuple.proto == IPPROTO_SCTP && *port != new_port && store_sctp_port(skb, p, source, *port, new_port) < 0)
		return DROP(p, DROP_L4_CSUM);
	*addr = new;
	*port = new_port;
	return 0;
}

/* Replaces bytes, adding what changes to the sum of everything, *total. `len` is 2, 4 or 16. */
inline_fn int replace_counted(struct __sk_buff *skb, __u32 off, const void *old, const void *new, __u32 len, __s64 *total)
{
	*total = bpf_csum_diff((__be32 *)old, len, (__be32 *)new, len, *total);
	return bpf_skb_store_bytes(skb, off, new, len, BPF_F_RECOMPUTE_CSUM);
}

/* The same for 16 bits at an even offset, whose sum is itself. */
inline_fn int replace16_counted(struct __sk_buff *skb, __u32 off, __u16 old, __u16 new, __s64 *total)
{
	__be32 old32 = old, new32 = new;

	*total = bpf_csum_diff(&old32, 4, &new32, 4, *total);
	return bpf_skb_store_bytes(skb, off, &new, 2, BPF_F_RECOMPUTE_CSUM);
}

/* Which end of the packet inside an error is translated. */
enum inner_end {
	INNER_SOURCE = 0,           /* and the outer destination */
	INNER_DESTINATION = 1,      /* and the outer source */
	INNER_DESTINATION_ONLY = 2, /* and the outer source only if it is the same address: a router keeps its own */
};

/* Translates one end of the inner packet and the outer end opposite, of which only the address counts. 1: done, or DROPPED. */
noinline_fn int nat_rewrite_error(struct __sk_buff *skb, struct packet *p, struct inner *inner, enum inner_end end,
				 const struct nat_entry *to)
{
	bool inner_source = end == INNER_SOURCE;
	struct addr *old = inner_source ? &inner->tuple.saddr : &inner->tuple.daddr;
	__be16 old_port = inner_source ? inner->tuple.sport : inner->tuple.dport;
	struct addr *outer = inner_source ? &p->tuple.daddr : &p->tuple.saddr;
	__u8 proto = inner->tuple.proto;
	__u32 csum_off = l4_csum_off(proto);
	struct addr new = to->addr;
	__be16 new_port = to->port;
	bool outer_stays = end == INNER_DESTINATION_ONLY && !addr_equal(outer, old);
	__u16 check, new_check;
	__s64 diff, total = 0;

	diff = bpf_csum_diff((__be32 *)old, sizeof(*old), (__be32 *)&new, sizeof(new), 0);
	/* Inner address, and the inner IPv4 header's own sum. */
	if (p->ipv6) {
		if (replace_counted(skb, inner->l3_off + ip_addr_off(p, inner_source), old, &new, sizeof(new), &total) < 0)
			return DROP(p, DROP_WRITE_ERROR);
	} else {
		if (bpf_skb_load_bytes(skb, inner->l3_off + IPV4_CSUM_OFF, &check, 2) < 0 ||
		    replace16_counted(skb, inner->l3_off + IPV4_CSUM_OFF, check, csum_after(check, diff), &total) < 0 ||
		    replace_counted(skb, inner->l3_off + ip_addr_off(p, inner_source), &old->w[3], &new.w[3], 4, &total) < 0)
			return DROP(p, DROP_WRITE_ERROR);
	}
	/* Inner port, and the inner transport sum if it is there: an error need not carry that much. */
	if (proto == IPPROTO_ICMP)
		diff = 0;
	if (old_port != new_port) {
		__be32 from = old_port, onto = new_port;

		diff = bpf_csum_diff(&from, 4, &onto, 4, diff);
		if (replace16_counted(skb, inner->l4_off + l4_port_off(proto, inner_source), old_port, new_port, &total) < 0)
			return DROP(p, DROP_WRITE_ERROR);
	}
	if (csum_off != CSUM_OFF_NONE && bpf_skb_load_bytes(skb, inner->l4_off + csum_off, &check, 2) == 0 &&
	    !(proto == IPPROTO_UDP && check == 0)) {
		new_check = csum_after(check, diff);
		if (proto == IPPROTO_UDP && new_check == 0)
			new_check = 0xffff;
		if (replace16_counted(skb, inner->l4_off + csum_off, check, new_check, &total) < 0)
			return DROP(p, DROP_WRITE_ERROR);
	}
	/* Outer address; ICMPv6 has it in its sum. */
	if (!outer_stays) {
		if (p->ipv6)
			total = bpf_csum_diff((__be32 *)outer, sizeof(*outer), (__be32 *)&new, sizeof(new), total);
		if (store_addr(skb, p, !inner_source, outer, &new) < 0)
			return DROP(p, DROP_WRITE_ERROR);
		*outer = new;
	}
	if (bpf_skb_load_bytes(skb, p->l4_off + ICMP_CSUM_OFF, &check, 2) < 0)
		return DROP(p, DROP_L4_CSUM);
	new_check = csum_after(check, total);
	if (bpf_skb_store_bytes(skb, p->l4_off + ICMP_CSUM_OFF, &new_check, 2, BPF_F_RECOMPUTE_CSUM) < 0)
		return DROP(p, DROP_L4_CSUM);
	return 1;
}
