/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Telling user space: counters for every packet, events for some.
 *
 * - Every drop ends in verdict(); there is no other TC_ACT_SHOT.
 * - A full ring buffer costs an event, never a packet.
 */
#pragma once

#include "counters.h"
#include "mark.h"

inline_fn void count(struct __sk_buff *skb, __u32 reason, __u32 direction)
{
	count_bytes(skb->len, reason, direction);
}

/* Not inlined: the types in its signature are how clang comes to put them into BTF. */
noinline_fn void event_describe(struct event *event, struct __sk_buff *skb, const struct packet *p, __u8 type, __u8 subtype)
{
	event->timestamp = bpf_ktime_get_ns();
	event->type = type;
	event->subtype = subtype;
	event->direction = p->direction;
	event->ct_state = p->ct_state;
	event->proto = p->tuple.proto;
	event->tcp_flags = p->tuple.proto == IPPROTO_TCP ? p->tcp_flags : 0;
	event->policy_match = p->policy_match;
	event->reason = p->policy_reason;
	event->endpoint_id = p->endpoint_id;
	event->src_identity = p->src_identity;
	event->dst_identity = p->dst_identity;
	event->flow_hash = bpf_get_hash_recalc(skb);
	event->policy_cookie = p->policy_cookie;
	event->len_orig = skb->len;
	event->len_cap = 0;
	event->source_file = p->source_file;
	event->orig_end = p->orig_end;
	event->source_line = p->source_line;
	event->orig_port = p->orig_port;
	event->orig_addr = p->orig_addr;
}

noinline_fn void emit(struct __sk_buff *skb, const struct packet *p, __u8 type, __u8 subtype, __u32 ifindex)
{
	struct event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	__u32 len = skb->len;

	if (!event) {
		count(skb, REASON_EVENT_LOST, p->direction);
		return;
	}
	event_describe(event, skb, p, type, subtype);
	event->ifindex = ifindex;
	if (len > EVENT_CAPTURE)
		len = EVENT_CAPTURE;
	/* Changes nothing, but tells every verifier that the length is 1..EVENT_CAPTURE. */
	asm volatile("" : "+r"(len));
	len = ((len - 1) & (EVENT_CAPTURE - 1)) + 1;
	if (bpf_skb_load_bytes(skb, 0, event->data, len) == 0)
		event->len_cap = len;
	bpf_ringbuf_submit(event, event_wake_flags(sizeof(*event)));
}

/* TC's verdict for ours. */
noinline_fn int verdict(struct __sk_buff *skb, const struct packet *p, int ret)
{
	if (ret != DROPPED)
		return ret;
	count(skb, p->drop_reason, p->direction);
	emit(skb, p, EVENT_DROP, p->drop_reason, skb->ifindex);
	return TC_ACT_SHOT;
}

/* `due` is what conntrack says for TRACE_MEDIUM. */
inline_fn bool is_traced(bool due)
{
	return config.trace_aggregation < TRACE_MEDIUM || (due && config.trace_aggregation != TRACE_OFF);
}

/* Trace of a packet that leaves us. */
inline_fn void trace_to(struct __sk_buff *skb, const struct packet *p, __u8 point, __u32 ifindex, bool due)
{
	if (is_traced(due))
		emit(skb, p, EVENT_TRACE, point, ifindex);
}

/* Trace of a packet that comes to us. */
inline_fn void trace_from(struct __sk_buff *skb, const struct packet *p, __u8 point)
{
	if (config.trace_aggregation < TRACE_LOW)
		emit(skb, p, EVENT_TRACE, point, skb->ifindex);
}
