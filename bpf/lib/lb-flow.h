/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Connections to frontends: which backend each has, kept in `service_flows` for as long as the connection is in `conntrack`.
 *
 * - Nothing here touches the packet's bytes: tc and XDP share it. service_select changes p->tuple from the frontend to the backend and
 *   leaves the frontend in p->orig_addr and p->orig_port.
 * - A stream keeps its backend while it lives, in the set or not, and whether or not its frontend is still there. Datagrams, and attempts to
 *   begin a stream, choose anew when their backend's row is gone.
 */
#pragma once

#include "conntrack.h"
#include "ipcache.h"
#include "lb-choice.h"

#undef SOURCE_FILE
#define SOURCE_FILE SOURCE_LB

/* What service_select says besides DROPPED. */
#define SELECT_NONE 0   /* not a service's */
#define SELECT_FOUND 1
#define SELECT_REFUSE 2 /* a service's, but there is no backend */

/* s between two looks of a client's packets at the entry for replies, which LRU eviction may have taken. */
#define SERVICE_VERIFY_INTERVAL 5
#define SERVICE_TRIES 3
#define SOURCE_RANGE_BITS (32 + 128)

/* Does the packet begin a connection? Any datagram may. */
inline_fn bool service_begins(const struct packet *p)
{
	return p->tuple.proto == IPPROTO_UDP || (p->tcp_flags & (TCP_FLAG_SYN | TCP_FLAG_ACK)) == TCP_FLAG_SYN;
}

inline_fn const struct frontend *frontend_of(const struct packet *p)
{
	struct frontend_key key = { .addr = p->tuple.daddr, .port = p->tuple.dport, .proto = p->tuple.proto };

	return bpf_map_lookup_elem(&frontends, &key);
}

inline_fn void service_key_of(const struct tuple *t, __u8 direction, struct service_flow_key *key)
{
	key->saddr = t->saddr;
	key->daddr = t->daddr;
	key->sport = t->sport;
	key->dport = t->dport;
	key->proto = t->proto;
	key->direction = direction;
}

inline_fn void loopback_of(const struct packet *p, struct addr *out)
{
	for (int i = 0; i < 4; i++)
		out->w[i] = p->ipv6 ? config.loopback_ipv6.w[i] : config.loopback_ipv4.w[i];
}

/* May this client from outside use the frontend? 0 or DROPPED. */
inline_fn int service_admits(struct packet *p, const struct frontend *frontend)
{
	__u32 types = FRONTEND_NODE_PORT | FRONTEND_EXTERNAL_IP | FRONTEND_LOAD_BALANCER | FRONTEND_HOST_PORT;
	struct source_range_key range = {
		.prefixlen = SOURCE_RANGE_BITS,
		.frontend = frontend->id,
		.addr = p->tuple.saddr,
	};

	if (!(frontend->flags & types) && !config.service_external_cluster_ip)
		return DROP(p, DROP_IS_A_CLUSTERIP);
	if (frontend->flags & FRONTEND_SOURCE_RANGES && !bpf_map_lookup_elem(&source_ranges, &range))
		return DROP(p, DROP_NOT_IN_SRC_RANGE);
	return 0;
}

/* From the frontend to the chosen backend, in the tuple alone. */
inline_fn void service_retarget(struct packet *p)
{
	p->tuple.daddr = p->chosen.addr;
	p->tuple.dport = p->chosen.port;
	p->service_flags &= ~SERVICE_HAIRPIN;
	/* Another node's pod that asks this node comes back to itself from this node's address, as everybody's packets do. */
	if (addr_equal(&p->tuple.saddr, &p->chosen.addr) && endpoint_of(&p->tuple.saddr)) {
		p->service_flags |= SERVICE_HAIRPIN;
		loopback_of(p, &p->tuple.saddr);
	}
}

inline_fn void service_untarget(struct packet *p)
{
	if (p->service_flags & SERVICE_HAIRPIN)
		p->tuple.saddr = p->chosen.addr;
	p->tuple.daddr = p->orig_addr;
	p->tuple.dport = p->orig_port;
}

/* Not inlined: conntrack's lookup is large. */
noinline_fn struct ct_entry *service_connection(struct packet *p)
{
	return ct_find(p);
}

/* Makes the entry for replies, or finds that this connection has it. False: another of the client's connections uses this port towards the backend. */
noinline_fn bool service_claim(struct packet *p)
{
	struct service_flow_key key = {
		.saddr = p->tuple.daddr,
		.daddr = p->tuple.saddr,
		.sport = p->tuple.dport,
		.dport = p->tuple.sport,
		.proto = p->tuple.proto,
		.direction = SERVICE_REPLY,
	};
	struct service_flow reply = {
		.addr = p->orig_addr,
		.port = p->orig_port,
		.flags = p->service_flags,
		.backend_id = p->backend_id,
		.frontend_id = p->frontend_id,
		.created = p->now,
		.verified = p->now,
	};
	const struct service_flow *owner;

	if (bpf_map_update_elem(&service_flows, &key, &reply, BPF_NOEXIST) == 0)
		return true;
	owner = bpf_map_lookup_elem(&service_flows, &key);
	if (owner && owner->port == p->orig_port && addr_equal(&owner->addr, &p->orig_addr))
		return true;
	return p->ct_state == CT_STATE_NEW && bpf_map_update_elem(&service_flows, &key, &reply, BPF_ANY) == 0;
}

/* Is the backend that the flow has still good for a packet that may begin a connection? */
inline_fn bool service_backend_stands(const struct packet *p)
{
	const struct backend *backend = bpf_map_lookup_elem(&backends, &p->backend_id);

	return backend && backend->port == p->chosen.port && addr_equal(&backend->addr, &p->chosen.addr);
}

/* Follows what was chosen before. False: choose anew. */
inline_fn bool service_follow(struct packet *p, struct service_flow *flow, struct ct_entry **entry)
{
	p->chosen.addr = flow->addr;
	p->chosen.port = flow->port;
	p->backend_id = flow->backend_id;
	p->frontend_id = flow->frontend_id;
	p->service_flags = flow->flags;
	service_retarget(p);
	*entry = service_connection(p);
	if (service_begins(p) && (p->ct_state == CT_STATE_NEW || !service_backend_stands(p))) {
		service_untarget(p);
		return false;
	}
	if (p->now - flow->verified >= SERVICE_VERIFY_INTERVAL) {
		service_claim(p);
		flow->verified = p->now;
	}
	return true;
}

/* Tries a backend: the client must not have this very connection to it already, directly or through another frontend. */
inline_fn bool service_try(struct packet *p, const struct service_flow_key *key, struct ct_entry **entry)
{
	struct service_flow forward = { .backend_id = p->backend_id, .frontend_id = p->frontend_id };

	service_retarget(p);
	*entry = service_connection(p);
	if ((p->ct_state == CT_STATE_NEW || !*entry || (*entry)->flags & CT_SERVICE) && service_claim(p)) {
		forward.addr = p->chosen.addr;
		forward.port = p->chosen.port;
		forward.flags = p->service_flags;
		forward.created = p->now;
		forward.verified = p->now;
		if (bpf_map_update_elem(&service_flows, key, &forward, BPF_ANY) == 0)
			return true;
	}
	service_untarget(p);
	return false;
}

inline_fn int service_unserved(struct packet *p, const struct frontend *frontend, bool external)
{
	if (!config.service_reject || (external && frontend->flags & FRONTEND_EXTERNAL_LOCAL))
		return DROP(p, DROP_NO_SERVICE);
	return SELECT_REFUSE;
}

/* `external`: the client is not on this node. On SELECT_FOUND *entry is what conntrack has of the connection between client and backend. */
noinline_fn int service_select(struct packet *p, bool external, struct ct_entry **entry)
{
	const struct frontend *frontend = NULL;
	struct service_flow_key key = {};
	struct service_flow *flow;
	__u32 set_id;
	bool begins;
	int ret;

	if (!has_ports(p->tuple.proto))
		return SELECT_NONE;
	/* What begins is a service's if there is a frontend; what goes on, if it began as one. */
	begins = service_begins(p);
	if (begins) {
		frontend = frontend_of(p);
		if (!frontend)
			return SELECT_NONE;
	}
	service_key_of(&p->tuple, SERVICE_FORWARD, &key);
	flow = bpf_map_lookup_elem(&service_flows, &key);
	if (!begins && !flow) {
		frontend = frontend_of(p);
		if (!frontend)
			return SELECT_NONE;
	}
	p->orig_addr = p->tuple.daddr;
	p->orig_port = p->tuple.dport;
	p->orig_end = ORIG_DESTINATION;
	if (flow && service_follow(p, flow, entry)) {
		p->service = SERVICE_TO_BACKEND;
		return SELECT_FOUND;
	}
	if (!frontend)
		return SELECT_NONE;
	if (external) {
		ret = service_admits(p, frontend);
		if (ret < 0)
			return ret;
	}
	p->frontend_id = frontend->id;
	p->service_flags = external && frontend->flags & FRONTEND_DSR ? SERVICE_DSR : 0;
	set_id = external ? frontend->external_set : frontend->internal_set;
	for (int i = 0; i < SERVICE_TRIES; i++) {
		if (!backend_choose(p, set_id, external, i > 0))
			return service_unserved(p, frontend, external);
		if (service_try(p, &key, entry)) {
			p->service = SERVICE_TO_BACKEND;
			return SELECT_FOUND;
		}
	}
	return DROP(p, DROP_NAT_NO_MAPPING);
}
