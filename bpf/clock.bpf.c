// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * The conntrack clock for user space, by test run: with it the agent measures config.hz and knows which entries are past `expires`.
 *
 * An object of its own: it is loaded before config.hz is known, and has no maps.
 */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

/* Writes jiffies64 into the packet's first 8 bytes and returns its low 32 bits. The conntrack second is jiffies64 / config.hz. */
SEC("tc")
int clock(struct __sk_buff *skb)
{
	__u64 jiffies = bpf_jiffies64();

	bpf_skb_store_bytes(skb, 0, &jiffies, sizeof(jiffies), 0);
	return jiffies;
}

char _license[] SEC("license") = "Dual BSD/GPL";
