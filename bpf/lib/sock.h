/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Services in sockets: an address that a process names is exchanged for a backend's before there is a packet.
 *
 * - Addresses are 16 bytes here too, so one path serves IPv4, IPv6 and IPv4-mapped IPv6 sockets.
 * - What a socket was translated from is remembered under its cookie with the frontend's address copied in: telling it later
 *   never needs the service.
 * - Ports are in network order; a hook's context has them in the low half of a 32-bit field.
 */
#pragma once

#include "sock-peer.h"

#include "clock.h"
#include "counters.h"

/* .rodata, set by the loader. */
struct sock_config {
	__u64 host_cookie;    /* of the node's network namespace; 0: the machine's first one */
	__u8 refuse_connect;  /* 1: the kernel lets us choose the errno (bpf_set_retval at these hooks, 6.1); 0: it says EPERM */
	__u8 refuse_bind;
	__u8 pad[6];
};

const volatile struct sock_config sock_config = {};

#define SOCK_PASS 1
#define SOCK_REFUSE 0

/* From errno.h and socket.h. */
#define AF_INET 2
#define EADDRINUSE 98
#define ECONNREFUSED 111

/* A service's backends may change between two of our lookups; what was read is then read again. */
#define CHOOSE_TRIES 3

inline_fn bool in_host(void *ctx)
{
	__u64 host = sock_config.host_cookie ? sock_config.host_cookie : bpf_get_netns_cookie(NULL);

	return bpf_get_netns_cookie(ctx) == host;
}

inline_fn bool is_mapped(const struct addr *addr)
{
	return !addr->w[0] && !addr->w[1] && addr->w[2] == bpf_htonl(0xffff);
}

inline_fn bool is_unspecified(const struct addr *addr)
{
	return !addr->w[3] && !addr->w[0] && !addr->w[1] && (!addr->w[2] || addr->w[2] == bpf_htonl(0xffff));
}

inline_fn bool is_loopback(const struct addr *addr)
{
	if (is_mapped(addr))
		return (addr->w[3] & bpf_htonl(0xff000000)) == bpf_htonl(0x7f000000);
	return !addr->w[0] && !addr->w[1] && !addr->w[2] && addr->w[3] == bpf_htonl(1);
}

/* Node ports have a row for one loopback address of each family, which stands for all and for "this machine". */
inline_fn void to_loopback(struct addr *addr)
{
	addr->w[3] = is_mapped(addr) ? bpf_htonl(0x7f000001) : bpf_htonl(1);
}

inline_fn struct frontend *frontend_of(const struct sock_end *end)
{
	struct frontend_key key = { .addr = end->addr, .port = end->port, .proto = end->proto };

	return bpf_map_lookup_elem(&frontends, &key);
}

inline_fn bool is_node_port(const struct frontend *frontend)
{
	return frontend->flags & FRONTEND_NODE_PORT;
}

/* Of a type whose address can be one of the node's. */
inline_fn bool is_own_address(const struct frontend *frontend)
{
	return frontend->flags & (FRONTEND_NODE_PORT | FRONTEND_EXTERNAL_IP | FRONTEND_LOAD_BALANCER);
}

/*
 * The service at an address. A pod's loopback is its own, whatever the node serves on its. To connect to no address is to
 * connect to this machine; the socket then shows loopback, as it does without us.
 */
inline_fn struct frontend *frontend_reached(void *ctx, struct sock_end *to)
{
	struct frontend *frontend;
	struct sock_end here = *to;

	if (!is_loopback(&to->addr) && !is_unspecified(&to->addr))
		return frontend_of(to);
	if (!in_host(ctx))
		return NULL;
	to_loopback(&here.addr);
	frontend = frontend_of(&here);
	if (frontend && is_unspecified(&to->addr))
		to->addr = here.addr;
	return frontend;
}

inline_fn struct backend *backend_of(__u32 id)
{
	return bpf_map_lookup_elem(&backends, &id);
}

/* The backend that this network namespace's sockets had of the set, while it is in it. */
inline_fn __u32 affine_backend(const struct affinity_key *key, __u32 timeout, __u32 now)
{
	struct affinity *last = bpf_map_lookup_elem(&affinity, key);
	struct affinity_match match = { .set = key->set };

	if (!last || now - last->last_used > timeout)
		return 0;
	match.backend = last->backend;
	return bpf_map_lookup_elem(&affinity_matches, &match) ? match.backend : 0;
}

inline_fn __u32 random_backend(__u32 set, __u32 count)
{
	struct backend_slot_key slot = { .set = set, .slot = bpf_get_prandom_u32() % count };
	__u32 *id = bpf_map_lookup_elem(&backend_slots, &slot);

	return id ? *id : 0;
}

/* And its number; NULL: there is none. */
inline_fn struct backend *choose_backend(void *ctx, __u32 set_id, __u32 *id)
{
	struct affinity_key key = { .set = set_id };
	struct affinity chosen = {};
	struct backend *backend;
	struct backend_set *set;

	for (int tries = 0; tries < CHOOSE_TRIES; tries++) {
		set = bpf_map_lookup_elem(&backend_sets, &set_id);
		if (!set || !set->count)
			return NULL;
		if (!set->affinity_timeout) {
			chosen.backend = random_backend(set_id, set->count);
		} else {
			*(__u64 *)&key.client = bpf_get_netns_cookie(ctx);
			chosen.last_used = clock_seconds();
			chosen.backend = affine_backend(&key, set->affinity_timeout, chosen.last_used);
			if (!chosen.backend)
				chosen.backend = random_backend(set_id, set->count);
		}
		backend = backend_of(chosen.backend);
		if (!backend)
			continue;
		if (chosen.last_used)
			bpf_map_update_elem(&affinity, &key, &chosen, BPF_ANY);
		*id = chosen.backend;
		return backend;
	}
	return NULL;
}

/* Not inlined: the types in its signature are how clang comes to put them into BTF. */
noinline_fn void sock_event_describe(struct sock_event *event, const struct sock_end *from, const struct sock_end *to,
				     __u32 frontend_id, __u32 backend_id)
{
	event->timestamp = bpf_ktime_get_ns();
	event->type = EVENT_SOCK;
	event->subtype = SOCK_POINT_FORWARD;
	event->proto = from->proto;
	event->pad = 0;
	event->frontend_id = frontend_id;
	event->backend_id = backend_id;
	event->frontend_addr = from->addr;
	event->frontend_port = from->port;
	event->backend_addr = to->addr;
	event->backend_port = to->port;
}

/* One for each socket that connects and each flow that begins. */
inline_fn void sock_trace(struct bpf_sock_addr *ctx, const struct sock_end *from, const struct sock_end *to, __u32 frontend_id,
			  __u32 backend_id)
{
	struct sock_event *event;

	event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event) {
		count_bytes(0, REASON_EVENT_LOST, DIRECTION_EGRESS);
		return;
	}
	sock_event_describe(event, from, to, frontend_id, backend_id);
	event->cookie = bpf_get_socket_cookie(ctx);
	event->netns_cookie = bpf_get_netns_cookie(ctx);
	event->cgroup_id = bpf_get_current_cgroup_id();
	bpf_ringbuf_submit(event, event_wake_flags(sizeof(*event)));
}

/* ---- the hooks, for both families ---- */

enum sock_outcome {
	SOCK_UNTOUCHED = 0,
	SOCK_TRANSLATED = 1,
	SOCK_NO_BACKEND = 2,
};

inline_fn bool is_translated_proto(__u8 proto)
{
	return proto == IPPROTO_TCP || proto == IPPROTO_UDP || proto == IPPROTO_SCTP;
}

inline_fn void sock_end_of(struct sock_end *end, const struct backend *backend)
{
	end->addr = backend->addr;
	end->port = backend->port;
}

/* A socket connects: it keeps its backend for as long as it is connected. */
inline_fn enum sock_outcome sock_connect(struct bpf_sock_addr *ctx, struct sock_end *to)
{
	struct frontend *frontend;
	struct backend *backend;
	struct sock_end asked;
	__u32 id = 0, frontend_id;

	if (!is_translated_proto(to->proto))
		return SOCK_UNTOUCHED;
	frontend = frontend_reached(ctx, to);
	if (!frontend) {
		/* It may have reached this very address through a service before. TCP sockets seldom connect twice. */
		if (to->proto == IPPROTO_UDP)
			forget(bpf_get_socket_cookie(ctx), to);
		return SOCK_UNTOUCHED;
	}
	asked = *to;
	frontend_id = frontend->id;
	backend = choose_backend(ctx, frontend->internal_set, &id);
	if (!backend)
		return SOCK_NO_BACKEND;
	sock_end_of(to, backend);
	remember_connected(bpf_get_socket_cookie(ctx), to, &asked);
	sock_trace(ctx, &asked, to, frontend_id, id);
	return SOCK_TRANSLATED;
}

/*
 * A socket sends a datagram to an address of its own choice. Datagrams of a socket to a service go to one backend while it is
 * there: protocols with a handshake in datagrams need that.
 */
inline_fn enum sock_outcome sock_sendmsg(struct bpf_sock_addr *ctx, struct sock_end *to)
{
	__u64 cookie = bpf_get_socket_cookie(ctx);
	struct sock_flow_key flow = { .cookie = cookie };
	struct frontend *frontend = frontend_reached(ctx, to);
	struct sock_end asked = *to;
	struct backend *backend;
	__u32 id = 0, *known;

	if (!frontend)
		return SOCK_UNTOUCHED;
	flow.frontend = frontend->id;
	known = bpf_map_lookup_elem(&sock_flows, &flow);
	backend = known ? backend_of(*known) : NULL;
	if (backend) {
		sock_end_of(to, backend);
		if (!remembered(cookie, to))
			remember(cookie, to, &asked);
		return SOCK_TRANSLATED;
	}
	backend = choose_backend(ctx, frontend->internal_set, &id);
	if (!backend)
		return SOCK_NO_BACKEND;
	sock_end_of(to, backend);
	bpf_map_update_elem(&sock_flows, &flow, &id, BPF_ANY);
	remember(cookie, to, &asked);
	sock_trace(ctx, &asked, to, flow.frontend, id);
	return SOCK_TRANSLATED;
}

/* A process binds: not a node port, nor an address of ours that a service has, or it would believe that it serves there. */
inline_fn bool is_service_port(void *ctx, const struct sock_end *at)
{
	struct frontend *frontend;
	struct sock_end here = *at;
	bool any = is_unspecified(&at->addr);

	if (!is_translated_proto(at->proto) || !at->port || !in_host(ctx))
		return false;
	if (any || is_loopback(&at->addr))
		to_loopback(&here.addr);
	frontend = frontend_of(&here);
	if (!frontend && any && !is_mapped(&at->addr)) {
		/* Such a socket serves IPv4 too. */
		addr_from_ipv4(&here.addr, bpf_htonl(0x7f000001));
		frontend = frontend_of(&here);
	}
	if (!frontend)
		return false;
	return any ? is_node_port(frontend) : is_own_address(frontend);
}
