// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* What policy cannot be cheaper than: the two look-ups in a longest-prefix-match map that a check makes, and nothing else. */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

/* As struct policy_key of bpf/lib/structs.h. */
struct key {
	__u32 prefixlen;
	__u32 identity;
	__u8 direction;
	__u8 proto;
	__be16 dport;
};
struct value {
	__u32 words[3];
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct key);
	__type(value, struct value);
} entries SEC(".maps");

SEC("tc")
int two_lookups(struct __sk_buff *skb)
{
	struct key key = { .prefixlen = 64, .identity = skb->mark, .direction = 1, .proto = 17, .dport = bpf_htons(53) };
	const struct value *exact = bpf_map_lookup_elem(&entries, &key), *any;

	key.identity = 0;
	any = bpf_map_lookup_elem(&entries, &key);
	/* Not `exact || any`: clang makes one arithmetic operation on two pointers of it. */
	if (exact)
		return TC_ACT_OK;
	return any ? TC_ACT_PIPE : TC_ACT_SHOT;
}

char _license[] SEC("license") = "Dual BSD/GPL";
