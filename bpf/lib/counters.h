/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Counters of packets by reason and direction, and how events reach their reader. For programs of packets and of sockets. */
#pragma once

#include "packet.h"

inline_fn void count_bytes(__u32 bytes, __u32 reason, __u32 direction)
{
	__u32 index = (reason & (METRIC_REASONS - 1)) * METRIC_DIRECTIONS + (direction & 1);
	struct metric *metric = bpf_map_lookup_elem(&metrics, &index);

	if (metric) {
		metric->packets++;
		metric->bytes += bytes;
	}
}

/*
 * Waking the reader costs a connection more than all its packets do here, so it looks by itself every so often, and is woken only by those
 * few records that bring the ring over EVENTS_WAKE_BYTES: while it is behind, and where everything is lost, nobody pays for waking it again.
 */
inline_fn __u64 event_wake_flags(__u32 bytes)
{
	__u64 over = bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA) - EVENTS_WAKE_BYTES;

	return over < EVENTS_WAKE_RECORDS * (__u64)bytes ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;
}
