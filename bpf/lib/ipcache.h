/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Whose address is it? */
#pragma once

#include "packet.h"

/* Identities of this scope stand for CIDRs outside of the cluster, known to this node only. */
#define IDENTITY_SCOPE_SHIFT 24
#define IDENTITY_SCOPE_CIDR 1
#define IDENTITY_SCOPE_NODE 2

inline_fn __u32 identity_world(const struct packet *p)
{
	if (!config.ipv4 || !config.ipv6)
		return IDENTITY_WORLD;
	return p->ipv6 ? IDENTITY_WORLD_IPV6 : IDENTITY_WORLD_IPV4;
}

inline_fn __u32 identity_of(const struct packet *p, const struct addr *addr)
{
	struct ipcache_key key = { .prefixlen = 128, .addr = *addr };
	const struct ipcache_entry *entry = bpf_map_lookup_elem(&ipcache, &key);

	return entry && entry->identity ? entry->identity : identity_world(p);
}

/* Of who sent the packet: what came through a tunnel says it itself. */
inline_fn __u32 identity_of_source(const struct packet *p)
{
	return p->carried_identity ? p->carried_identity : identity_of(p, &p->tuple.saddr);
}

/* Who is at the packet's destination, and how it is reached if that is elsewhere. */
inline_fn void look_up_destination(struct packet *p)
{
	struct ipcache_key key = { .prefixlen = 128, .addr = p->tuple.daddr };
	const struct ipcache_entry *entry = bpf_map_lookup_elem(&ipcache, &key);

	p->dst_identity = entry && entry->identity ? entry->identity : identity_world(p);
	if (config.tunnel == TUNNEL_NONE && config.encryption == ENCRYPTION_NONE)
		return;
	__builtin_memset(&p->tunnel_endpoint, 0, sizeof(p->tunnel_endpoint));
	p->encrypt_key = 0;
	if (entry) {
		p->tunnel_endpoint = entry->tunnel_endpoint;
		p->encrypt_key = entry->encrypt_key;
	}
}

/* Outside of the cluster: no pod, no node. */
inline_fn bool identity_is_world(__u32 identity)
{
	return identity == IDENTITY_WORLD || identity == IDENTITY_WORLD_IPV4 || identity == IDENTITY_WORLD_IPV6 ||
	       identity >> IDENTITY_SCOPE_SHIFT == IDENTITY_SCOPE_CIDR;
}

inline_fn bool identity_is_node(__u32 identity)
{
	return identity == IDENTITY_HOST || identity == IDENTITY_REMOTE_NODE || identity == IDENTITY_KUBE_APISERVER ||
	       identity >> IDENTITY_SCOPE_SHIFT == IDENTITY_SCOPE_NODE;
}

inline_fn bool identity_is_pod(__u32 identity)
{
	return identity >= 256 && !(identity >> IDENTITY_SCOPE_SHIFT);
}

inline_fn const struct endpoint *endpoint_of(const struct addr *addr)
{
	const struct endpoint *endpoint = bpf_map_lookup_elem(&endpoints, addr);

	/* The node itself has the place of 0.0.0.0, which nobody has, and no link. */
	return config.host_firewall && endpoint && !endpoint->ifindex ? NULL : endpoint;
}
