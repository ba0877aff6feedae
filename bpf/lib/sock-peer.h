/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What a socket was translated from, with the frontend's address copied in: telling it later never needs the service.
 *
 * - A stream has one other end, and there are very many streams: theirs are in `sock_peers`, a table that costs a cache line or two for each
 *   connection. An entry of an LRU map made and taken away costs three times as much, and the kernel's storage for sockets even more.
 * - Sockets of datagrams can have many, and the agent looks for them by cookie: theirs are in `sock_revnat`.
 */
#pragma once

#include "packet.h"

/* Where a socket wants to go, and the other end that it is given. */
struct sock_end {
	struct addr addr;
	__be16 port;
	__u8 proto;
	__u8 pad;
};

/* ---- noted under the socket's cookie ---- */

inline_fn void remember(__u64 cookie, const struct sock_end *backend, const struct sock_end *frontend)
{
	struct sock_revnat_key key = { .cookie = cookie, .addr = backend->addr, .port = backend->port, .proto = backend->proto };
	struct sock_revnat value = { .addr = frontend->addr, .port = frontend->port };

	bpf_map_update_elem(&sock_revnat, &key, &value, BPF_ANY);
}

inline_fn struct sock_revnat *remembered(__u64 cookie, const struct sock_end *backend)
{
	struct sock_revnat_key key = { .cookie = cookie, .addr = backend->addr, .port = backend->port, .proto = backend->proto };

	return bpf_map_lookup_elem(&sock_revnat, &key);
}

inline_fn void forget(__u64 cookie, const struct sock_end *backend)
{
	struct sock_revnat_key key = { .cookie = cookie, .addr = backend->addr, .port = backend->port, .proto = backend->proto };

	bpf_map_delete_elem(&sock_revnat, &key);
}

/* ---- of streams ---- */

inline_fn bool is_stream(const struct sock_end *end)
{
	return end->proto == IPPROTO_TCP;
}

/* Cookies are counted up, so sockets are spread evenly. */
inline_fn struct sock_peers *peers_of(__u64 cookie)
{
	__u32 bucket = cookie % SOCK_PEER_BUCKETS;

	return bpf_map_lookup_elem(&sock_peers, &bucket);
}

/* Its own place, if it connects again, or a free one, or in a full bucket another's. */
inline_fn struct sock_peer *peer_place(struct sock_peers *peers, __u64 cookie)
{
	__u32 way;

	for (way = 0; way < SOCK_PEER_WAYS; way++) {
		if (peers->cookie[way] == cookie)
			return &peers->peer[way];
		if (!peers->cookie[way] && !__sync_val_compare_and_swap(&peers->cookie[way], 0, cookie))
			return &peers->peer[way];
	}
	way = bpf_get_prandom_u32() % SOCK_PEER_WAYS;
	peers->cookie[way] = cookie;
	return &peers->peer[way];
}

inline_fn void remember_peer(__u64 cookie, const struct sock_end *backend, const struct sock_end *frontend)
{
	struct sock_peers *peers = peers_of(cookie);
	struct sock_peer *peer;

	if (!peers)
		return;
	peer = peer_place(peers, cookie);
	peer->backend = backend->addr;
	peer->backend_port = backend->port;
	peer->frontend.addr = frontend->addr;
	peer->frontend.port = frontend->port;
}

inline_fn struct sock_revnat *remembered_peer(__u64 cookie, const struct sock_end *backend)
{
	struct sock_peers *peers = peers_of(cookie);
	struct sock_peer *peer;

	for (__u32 way = 0; peers && way < SOCK_PEER_WAYS; way++) {
		peer = &peers->peer[way];
		/* The backend is compared too: the place may have been another's, or the socket have connected elsewhere since. */
		if (peers->cookie[way] == cookie && peer->backend_port == backend->port && addr_equal(&peer->backend, &backend->addr))
			return &peer->frontend;
	}
	return NULL;
}

inline_fn void forget_peer(__u64 cookie)
{
	struct sock_peers *peers = peers_of(cookie);

	for (__u32 way = 0; peers && way < SOCK_PEER_WAYS; way++)
		if (peers->cookie[way] == cookie)
			peers->cookie[way] = 0;
}

/* ---- of sockets that connect, of either kind ---- */

inline_fn void remember_connected(__u64 cookie, const struct sock_end *backend, const struct sock_end *frontend)
{
	if (is_stream(backend))
		remember_peer(cookie, backend, frontend);
	else
		remember(cookie, backend, frontend);
}

/* NULL: its other end is the one that it asked for. */
inline_fn struct sock_revnat *remembered_connected(__u64 cookie, const struct sock_end *backend)
{
	return is_stream(backend) ? remembered_peer(cookie, backend) : remembered(cookie, backend);
}

inline_fn void forget_connected(__u64 cookie, const struct sock_end *backend)
{
	if (is_stream(backend))
		forget_peer(cookie);
	else
		forget(cookie, backend);
}
