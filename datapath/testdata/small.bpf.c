/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The four programs without their work: the real maps and hooks, and every packet passes. VARIANT changes the code,
 * LAYOUT the value of a map that only programs fill, AGENT_LAYOUT one that the agent fills.
 */
#ifdef LAYOUT
#define rev_nat rev_nat_renamed
#endif
#ifdef AGENT_LAYOUT
#define encrypt_key encrypt_key_renamed
#endif
#include "../../bpf/lib/maps.h"

#include <bpf/bpf_endian.h>

#ifndef VARIANT
#define VARIANT 0
#endif

/* A function of its own, so that BTF has the struct. */
static __attribute__((noinline)) int fill(struct __sk_buff *skb, struct event *event)
{
	if (!event)
		return 0;
	__builtin_memset(event, 0, sizeof(*event));
	event->type = EVENT_TRACE;
	event->subtype = VARIANT;
	event->len_orig = skb->len;
	event->len_cap = 14;
	event->ifindex = skb->ifindex;
	event->timestamp = bpf_ktime_get_ns();
	event->orig_port = bpf_htons(443);
	return bpf_skb_load_bytes(skb, 0, event->data, 14);
}

/* The same of the structs of the inner maps. */
static __attribute__((noinline)) const struct policy_entry *find(void *inner, const struct policy_key *key)
{
	return bpf_map_lookup_elem(inner, key);
}

static __always_inline int pass(struct __sk_buff *skb, __u32 reason)
{
	__u32 index = reason * METRIC_DIRECTIONS + VARIANT;
	struct metric *metric = bpf_map_lookup_elem(&metrics, &index);
	struct addr addr = {};
	struct ct_key ct = {};
	struct nat_key flow = {};
	struct fragment_key fragment = {};
	struct ipcache_key prefix = { .prefixlen = 128 };
	struct policy_key entry = { .prefixlen = POLICY_PREFIX_BASE };
	struct event *event;
	void *inner;

	if (metric && config.ipv4) {
		metric->packets++;
		metric->bytes += skb->len;
	}
	if (skb->mark == 0x1234) {
		event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
		if (event) {
			fill(skb, event);
			bpf_ringbuf_submit(event, 0);
		}
	}
	inner = bpf_map_lookup_elem(&policy, &index);
	if (inner && find(inner, &entry))
		return 0;
	/* Each program holds all maps, as the real ones do. */
	if (bpf_map_lookup_elem(&endpoints, &addr) || bpf_map_lookup_elem(&ipcache, &prefix) ||
	    bpf_map_lookup_elem(&conntrack, &ct) || bpf_map_lookup_elem(&nat, &flow) ||
	    bpf_map_lookup_elem(&fragments, &fragment) || bpf_map_lookup_elem(&netdevs, &index) ||
	    (index > 0 && bpf_map_lookup_elem(&policy_revision, &index)))
		return 0;
	return -1; /* TC_ACT_UNSPEC: on to the next program */
}

SEC("tc")
int from_endpoint(struct __sk_buff *skb)
{
	return pass(skb, 0);
}

SEC("tc")
int to_endpoint(struct __sk_buff *skb)
{
	return pass(skb, 1);
}

SEC("tc")
int from_netdev(struct __sk_buff *skb)
{
	return pass(skb, 2);
}

SEC("tc")
int to_netdev(struct __sk_buff *skb)
{
	return pass(skb, 3);
}

char _license[] SEC("license") = "Dual BSD/GPL";
