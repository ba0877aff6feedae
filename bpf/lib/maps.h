/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The maps and the configuration. Writers, readers and what happens when one is full: at the value's struct in structs.h.
 *
 * - max_entries are defaults; the loader sets them from the agent's configuration.
 * - Hash maps that only the agent fills are not preallocated: memory follows their content.
 * - LRU maps are preallocated by the kernel: 128 B an entry of `conntrack` and of `nat`.
 */
#pragma once

#include "structs.h"

#include <bpf/bpf_helpers.h>

#define ENDPOINTS_MAX 65536
#define IPCACHE_MAX 512000
#define NETDEVS_MAX 512
#define POLICY_MAX 65536        /* endpoints with a policy */
#define POLICY_ENTRIES_MAX 16384 /* per endpoint */
#define CONNTRACK_MAX 262144
#define NAT_MAX 262144
#define FRAGMENTS_MAX 8192
#define EVENTS_BYTES (2 << 20)
/* Above this much unread the reader is woken; below, it comes by itself (EVENT_READ_INTERVAL_MS in datapath/events.ts). */
#define EVENTS_WAKE_BYTES (EVENTS_BYTES / 8)

const volatile struct config config = {
	.hz = 250,
	.timeout_tcp_syn = 60,
	.timeout_tcp_established = 8000,
	.timeout_tcp_closing = 10,
	.timeout_any = 60,
	.nat_port_min = 32768,
	.nat_port_max = 65535,
	.trace_interval = 5,
	.trace_aggregation = TRACE_MEDIUM,
	.ipv4 = 1,
	.ipv6 = 1,
	.masquerade_ipv4 = 1,
	.masquerade_ipv6 = 1,
	.allow_localhost = 1,
	.allow_icmp_frag_needed = 1,
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, ENDPOINTS_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct addr);
	__type(value, struct endpoint);
} endpoints SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, IPCACHE_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct ipcache_key);
	__type(value, struct ipcache_entry);
} ipcache SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, NETDEVS_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct netdev);
} netdevs SEC(".maps");

/*
 * Template of the inner maps; the agent creates one per endpoint with this type, key, value and flags. Sizes only: clang
 * leaves the types of an inner template out of BTF (policy_key and policy_entry are in it all the same).
 */
struct policy_inner {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, POLICY_ENTRIES_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(key_size, sizeof(struct policy_key));
	__uint(value_size, sizeof(struct policy_entry));
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(max_entries, POLICY_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__array(values, struct policy_inner);
} policy SEC(".maps");

/*
 * Writer: agent, which raises it after it took something away from any endpoint's policy. Readers: programs; an array of one
 * element is a plain load to them. In a map of its own so that it goes on counting over restarts and new programs.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} policy_revision SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, CONNTRACK_MAX);
	__type(key, struct ct_key);
	__type(value, struct ct_entry);
} conntrack SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, NAT_MAX);
	__type(key, struct nat_key);
	__type(value, struct nat_entry);
} nat SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, FRAGMENTS_MAX);
	__type(key, struct fragment_key);
	__type(value, struct fragment_ports);
} fragments SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, METRIC_REASONS * METRIC_DIRECTIONS);
	__type(key, __u32);
	__type(value, struct metric);
} metrics SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, EVENTS_BYTES);
} events SEC(".maps");
