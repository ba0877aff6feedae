/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The maps and the configuration. Writers, readers and what happens when one is full: at the value's struct in structs.h.
 *
 * - max_entries are defaults; the loader sets them from the agent's configuration.
 * - Hash maps that only the agent fills are not preallocated: memory follows their content.
 * - LRU maps are preallocated by the kernel: 128 B an entry of `conntrack`, `nat` and `service_flows`.
 * - Every object includes all maps, so that the loader finds each in the first one.
 */
#pragma once

#include "structs.h"

#include <bpf/bpf_helpers.h>

#define ENDPOINTS_MAX 65536
#define IPCACHE_MAX 512000
#define NETDEVS_MAX 512
#define DEVICES_MAX 8
#define NODES_MAX 16384
#define POLICY_MAX 65536        /* endpoints with a policy */
#define POLICY_ENTRIES_MAX 16384 /* per endpoint */
#define CONNTRACK_MAX 262144
#define NAT_MAX 262144
#define FRAGMENTS_MAX 8192
#define FRONTENDS_MAX 65536
#define BACKEND_SETS_MAX 65536
#define BACKEND_SLOTS_MAX 524288
#define BACKENDS_MAX 65536
#define SOURCE_RANGES_MAX 65536
#define AFFINITY_MAX 65536
#define AFFINITY_MATCHES_MAX 524288
#define SERVICE_FLOWS_MAX 131072 /* two a connection */
#define SOCK_REVNAT_MAX 131072
#define SOCK_PEER_BUCKETS 16384 /* of eight sockets each; less in the configuration: fewer are remembered */
#define SOCK_FLOWS_MAX 65536
#define SERVICE_NAMES_MAX (BACKEND_SETS_MAX + FRONTENDS_MAX)
#define EVENTS_BYTES (4 << 20)
/* Above this much unread the reader is woken; below, it comes by itself (EVENT_READ_INTERVAL_MS in datapath/events.ts). */
#define EVENTS_WAKE_BYTES (EVENTS_BYTES / 8)
/* Records that wake it, counted from there: were it one, another processor's could come between and none would. */
#define EVENTS_WAKE_RECORDS 16

#define CONFIG_BE32(x) __builtin_bswap32(x)

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
	.trace_flags = 0x07, /* FIN, SYN, RST */
	.ipv4 = 1,
	.ipv6 = 1,
	.masquerade_ipv4 = 1,
	.masquerade_ipv6 = 1,
	.allow_localhost = 1,
	.allow_icmp_frag_needed = 1,
	.services = 1,
	.service_reject = 1,
	.node_port_min = 30000,
	.node_port_max = 32767,
	/* 169.254.42.1 and its image in the prefix of RFC 8215, which is never routed between networks. */
	.loopback_ipv4 = { { 0, 0, CONFIG_BE32(0x0000ffff), CONFIG_BE32(0xa9fe2a01) } },
	.loopback_ipv6 = { { CONFIG_BE32(0x0064ff9b), CONFIG_BE32(0x00010000), 0, CONFIG_BE32(0xa9fe2a01) } },
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

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, DEVICES_MAX);
	__type(key, __u32);
	__type(value, struct device);
} devices SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, NODES_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct addr);
	__type(value, struct node);
} nodes SEC(".maps");

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

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, FRONTENDS_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct frontend_key);
	__type(value, struct frontend);
} frontends SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, BACKEND_SETS_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct backend_set);
} backend_sets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, BACKEND_SLOTS_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct backend_slot_key);
	__type(value, __u32);
} backend_slots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, BACKENDS_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct backend);
} backends SEC(".maps");

/* Template of the inner maps; the agent makes them with (maglev_size + 15) / 16 elements. Sizes only, as with policy_inner. */
struct maglev_inner {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_INNER_MAP);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct maglev_line));
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(max_entries, BACKEND_SETS_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__array(values, struct maglev_inner);
} maglev SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, SOURCE_RANGES_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct source_range_key);
	__type(value, __u8);
} source_ranges SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SERVICE_NAMES_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct service_name_key);
	__type(value, struct service_name);
} service_names SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, AFFINITY_MAX);
	__type(key, struct affinity_key);
	__type(value, struct affinity);
} affinity SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, AFFINITY_MATCHES_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct affinity_match);
	__type(value, __u8);
} affinity_matches SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, SERVICE_FLOWS_MAX);
	__type(key, struct service_flow_key);
	__type(value, struct service_flow);
} service_flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, SOCK_REVNAT_MAX);
	__type(key, struct sock_revnat_key);
	__type(value, struct sock_revnat);
} sock_revnat SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, SOCK_FLOWS_MAX);
	__type(key, struct sock_flow_key);
	__type(value, __u32);
} sock_flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SOCK_PEER_BUCKETS);
	__type(key, __u32);
	__type(value, struct sock_peers);
} sock_peers SEC(".maps");
