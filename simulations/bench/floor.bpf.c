// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * The floor of the pod-to-pod benchmark: the least that any eBPF pod network does. One lookup by destination, both MAC addresses, and
 * into the peer's namespace; no policy, no connection tracking, no TTL, IPv4 only.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

struct pod {
	__u32 ifindex;
	__u8 macs[2 * ETH_ALEN]; /* destination and source, as an Ethernet header has them */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __be32);
	__type(value, struct pod);
} pods SEC(".maps");

SEC("tc")
int to_peer(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct iphdr *ip = data + ETH_HLEN;
	const struct pod *pod;

	if (skb->protocol != bpf_htons(ETH_P_IP) || (void *)(ip + 1) > end)
		return TC_ACT_OK;
	pod = bpf_map_lookup_elem(&pods, &ip->daddr);
	if (!pod)
		return TC_ACT_OK;
	__builtin_memcpy(data, pod->macs, sizeof(pod->macs));
	return bpf_redirect_peer(pod->ifindex, 0);
}

/* What a test run costs by itself. */
SEC("tc")
int empty(__attribute__((unused)) struct __sk_buff *skb)
{
	return TC_ACT_OK;
}

char _license[] SEC("license") = "Dual BSD/GPL";
