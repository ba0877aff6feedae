// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* Where packets of a benchmark end, counted and dropped as early as a device hands them over, and the least that sends them there. */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} arrived SEC(".maps");

static __always_inline void count(void)
{
	__u32 first = 0;
	__u64 *packets = bpf_map_lookup_elem(&arrived, &first);

	if (packets)
		++*packets;
}

SEC("xdp")
int sink(__attribute__((unused)) struct xdp_md *ctx)
{
	count();
	return XDP_DROP;
}

/* Generic XDP does not see what tc has redirected. */
SEC("tc")
int sink_tc(__attribute__((unused)) struct __sk_buff *skb)
{
	count();
	return TC_ACT_SHOT;
}

SEC("xdp")
int back_again(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	__u8 source[ETH_ALEN];

	if ((void *)(eth + 1) > end)
		return XDP_DROP;
	__builtin_memcpy(source, eth->h_source, ETH_ALEN);
	__builtin_memcpy(eth->h_source, eth->h_dest, ETH_ALEN);
	__builtin_memcpy(eth->h_dest, source, ETH_ALEN);
	return XDP_TX;
}

char _license[] SEC("license") = "Dual BSD/GPL";
