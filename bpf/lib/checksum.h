/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The Internet checksum, on sums as bpf_csum_diff makes them. */
#pragma once

#include "packet.h"

inline_fn __u16 csum_fold(__s64 sum)
{
	__u32 folded = (__u32)sum;

	folded = (folded & 0xffff) + (folded >> 16);
	folded = (folded & 0xffff) + (folded >> 16);
	return ~folded;
}

/* A checksum after what it covers changed by `diff`. */
inline_fn __u16 csum_after(__u16 check, __s64 diff)
{
	__u64 sum = (__u64)(__u32)diff + (__u16)~check;

	sum = (sum & 0xffffffff) + (sum >> 32);
	return csum_fold(sum);
}
