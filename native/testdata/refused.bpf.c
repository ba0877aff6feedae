// SPDX-License-Identifier: Apache-2.0
// A program the verifier must refuse: it reads the packet without a bounds check.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("tc")
int unchecked(struct __sk_buff *skb)
{
	return *(__u8 *)(long)skb->data;
}

char _license[] SEC("license") = "Apache-2.0";
