/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* skb->mark: what a program says of a packet to those that meet it later on this node, and to the stack. Values are Cilium's. */
#pragma once

#include "packet.h"

#define MARK_MASK 0x0f00
#define MARK_TRANSLATED 0x0300 /* to_netdev does not masquerade it */
#define MARK_OVERLAY 0x0400    /* of a tunnel's packet that goes in clear; with the identity that is in its key */
/* A packet that to_netdev masquerades, and that a trace is due of: it tells, knowing both addresses. By the packet's conntrack state. */
#define MARK_TRACE_NEW 0x0600
#define MARK_TRACE_ESTABLISHED 0x0700
#define MARK_TRACED 0x0900     /* the same, but it has been told of */
#define MARK_DECRYPT 0x0d00    /* for XFRM, with the sender's number */
#define MARK_ENCRYPT 0x0e00    /* for XFRM, with key and receiver's number; for WireGuard bare, on a tunnel's packet */
/* WireGuard's own packets, by the device's fwmark: they are encrypted. The key's bits say 1. */
#define MARK_WIREGUARD 0x1e00
#define MARK_WIREGUARD_MASK 0xff00

#define MARK_KEY_SHIFT 12
#define MARK_NODE_SHIFT 16

inline_fn void mark_translated(struct __sk_buff *skb)
{
	skb->mark = (skb->mark & ~MARK_MASK) | MARK_TRANSLATED;
}

inline_fn bool is_translated(const struct __sk_buff *skb)
{
	return (skb->mark & MARK_MASK) == MARK_TRANSLATED;
}

inline_fn void mark_trace(struct __sk_buff *skb, __u32 mark)
{
	skb->mark = (skb->mark & ~MARK_MASK) | mark;
}

/* One of MARK_TRACE…, which is gone then; 0: there was none. */
inline_fn __u32 take_trace_mark(struct __sk_buff *skb)
{
	__u32 mark = skb->mark & MARK_MASK;

	if (mark != MARK_TRACE_NEW && mark != MARK_TRACE_ESTABLISHED && mark != MARK_TRACED)
		return 0;
	skb->mark &= ~MARK_MASK;
	return mark;
}

/* The identity's low 16 bits are the mark's high ones, its next 8 the mark's lowest. */
inline_fn __u32 mark_of_identity(__u32 identity)
{
	return identity << 16 | (identity >> 16 & 0xff);
}
