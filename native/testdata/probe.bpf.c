// SPDX-License-Identifier: Apache-2.0
// The programs and maps the addon's tests load: one of each kind the addon must handle.
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

typedef __u16 __attribute__((btf_type_tag("big_endian"))) tagged_port;

enum verdict { VERDICT_DENY = 0, VERDICT_ALLOW = 1, VERDICT_UNKNOWN = -1 };

struct addr {
	__be32 w[4];
};

struct trie_key {
	__u32 prefixlen;
	struct addr addr;
};

struct value {
	__u64 packets;
	__be16 port_be;
	tagged_port other_port;
	__u8 low : 3;
	__u8 high : 5;
	enum verdict verdict;
	union {
		__u32 number;
		__u8 bytes[4];
	};
};

struct config {
	__u32 mark;
	__u32 verdict;
};

struct record {
	__u64 sequence;
	__u32 length;
	__u32 mark;
};

const volatile struct config config = { .mark = 7, .verdict = TC_ACT_OK };
__u64 seen;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct addr);
	__type(value, struct value);
} endpoints SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 1024);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct trie_key);
	__type(value, struct value);
} ipcache SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u64);
} counters SEC(".maps");

struct policy_inner {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, __u32);
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(max_entries, 64);
	__type(key, __u32);
	__array(values, struct policy_inner);
} policy SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u32);
} tails SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 18);
} events SEC(".maps");

static __always_inline void count(__u32 slot)
{
	__u64 *counter = bpf_map_lookup_elem(&counters, &slot);

	if (counter)
		__sync_fetch_and_add(counter, 1);
}

SEC("tc")
int count_one(struct __sk_buff *skb)
{
	count(0);
	skb->mark = config.mark;
	return config.verdict;
}

SEC("tcx/ingress")
int count_two(struct __sk_buff *skb)
{
	count(1);
	return TC_ACT_OK;
}

SEC("tc")
int report(struct __sk_buff *skb)
{
	struct record *record = bpf_ringbuf_reserve(&events, sizeof(*record), 0);

	if (!record)
		return TC_ACT_SHOT;
	record->sequence = seen++;
	record->length = skb->len;
	record->mark = skb->mark;
	bpf_ringbuf_submit(record, 0);
	return TC_ACT_OK;
}

SEC("tc")
int ask_policy(struct __sk_buff *skb)
{
	__u32 endpoint = skb->mark, key = 1;
	void *inner = bpf_map_lookup_elem(&policy, &endpoint);
	__u32 *verdict;

	if (!inner)
		return TC_ACT_SHOT;
	verdict = bpf_map_lookup_elem(inner, &key);
	return verdict ? (int)*verdict : TC_ACT_UNSPEC;
}

SEC("tc")
int jump(struct __sk_buff *skb)
{
	bpf_tail_call(skb, &tails, 0);
	return TC_ACT_SHOT;
}

SEC("xdp")
int count_xdp(struct xdp_md *ctx)
{
	count(2);
	return XDP_PASS;
}

SEC("cgroup/connect4")
int refuse_connect(struct bpf_sock_addr *ctx)
{
	return 0;
}

SEC("raw_tp/sys_enter")
int trace_enter(void *ctx)
{
	count(3);
	return 0;
}

char _license[] SEC("license") = "Apache-2.0";
