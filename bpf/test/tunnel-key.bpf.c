// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* For test runs, whose packets come through no tunnel: gives the packet a key as if it had, then goes on with the program that is `next`. */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_helpers.h>

struct given {
	struct bpf_tunnel_key key;
	__u32 flags; /* of bpf_skb_set_tunnel_key */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct given);
} given SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} next SEC(".maps");

SEC("tc")
int with_key(struct __sk_buff *skb)
{
	__u32 index = 0;
	struct given *g = bpf_map_lookup_elem(&given, &index);

	if (!g)
		return TC_ACT_SHOT;
	if (g->key.tunnel_id != 0xffffffff && bpf_skb_set_tunnel_key(skb, &g->key, sizeof(g->key), g->flags) < 0)
		return TC_ACT_SHOT;
	bpf_tail_call(skb, &next, 0);
	return TC_ACT_SHOT;
}

char _license[] SEC("license") = "Dual BSD/GPL";
