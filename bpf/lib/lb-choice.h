/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Which backend of a set a new connection gets: the one the client had, if the set has affinity; else for clients from outside the
 * one in its Maglev table, so that every node chooses the same; else any.
 *
 * - The set may change between two lookups: what is not there (any more) is not chosen, and another is tried.
 */
#pragma once

#include "clock.h"
#include "packet.h"

#define CHOICES_MAX 4

inline_fn __u32 murmur3_rotl(__u32 x, int bits)
{
	return x << bits | x >> (32 - bits);
}

inline_fn __u32 murmur3_word(__u32 hash, __u32 word)
{
	hash ^= murmur3_rotl(word * 0xcc9e2d51, 15) * 0x1b873593;
	return murmur3_rotl(hash, 13) * 5 + 0xe6546b64;
}

/*
 * MurmurHash3 (x86, 32 bits, seed 0) over 24 bytes, as six words in host order: the client's address, its port and the frontend's port in
 * one word, the protocol. The frontend's address is not in it: a node port is at many. With affinity the client's port is 0.
 */
inline_fn __u32 client_hash(const struct tuple *t, __be16 sport)
{
	__u32 hash = 0;

	for (int i = 0; i < 4; i++)
		hash = murmur3_word(hash, bpf_ntohl(t->saddr.w[i]));
	hash = murmur3_word(hash, (__u32)bpf_ntohs(sport) << 16 | bpf_ntohs(t->dport));
	hash = murmur3_word(hash, t->proto);
	hash ^= 24;
	hash = (hash ^ hash >> 16) * 0x85ebca6b;
	hash = (hash ^ hash >> 13) * 0xc2b2ae35;
	return hash ^ hash >> 16;
}

/* Not inlined: the types in its signature are how clang comes to put them into BTF. */
noinline_fn const struct maglev_line *maglev_line_of(void *table, const __u32 *index)
{
	return bpf_map_lookup_elem(table, index);
}

inline_fn __u32 backend_by_maglev(const struct packet *p, __u32 set_id, const struct backend_set *set)
{
	__u32 slot = client_hash(&p->tuple, set->affinity_timeout ? 0 : p->tuple.sport) % set->maglev_size;
	void *table = bpf_map_lookup_elem(&maglev, &set_id);
	__u32 index = slot / MAGLEV_LINE;
	const struct maglev_line *line;

	if (!table)
		return 0;
	line = maglev_line_of(table, &index);
	return line ? line->backend_id[slot % MAGLEV_LINE] : 0;
}

inline_fn __u32 backend_at_random(__u32 set_id, const struct backend_set *set)
{
	struct backend_slot_key slot = { .set = set_id, .slot = bpf_get_prandom_u32() % set->count };
	const __u32 *id = bpf_map_lookup_elem(&backend_slots, &slot);

	return id ? *id : 0;
}

/* What this client had, while that is in the set. 0: nothing. */
inline_fn __u32 backend_of_client(const struct affinity_key *key, __u32 timeout, __u32 now)
{
	const struct affinity *last = bpf_map_lookup_elem(&affinity, key);
	struct affinity_match match = { .set = key->set };

	if (!last || now - last->last_used > timeout)
		return 0;
	match.backend = last->backend;
	return bpf_map_lookup_elem(&affinity_matches, &match) ? match.backend : 0;
}

inline_fn bool backend_take(struct packet *p, __u32 id)
{
	const struct backend *backend = id ? bpf_map_lookup_elem(&backends, &id) : NULL;

	if (!backend)
		return false;
	p->chosen = *backend;
	p->backend_id = id;
	return true;
}

/* Sets p->chosen and p->backend_id. False: there is no backend. `again`: what was chosen before cannot be used. */
noinline_fn bool backend_choose(struct packet *p, __u32 set_id, bool external, bool again)
{
	const struct backend_set *set = bpf_map_lookup_elem(&backend_sets, &set_id);
	struct affinity_key client = { .client = p->tuple.saddr, .set = set_id };
	struct affinity last = { .last_used = clock_seconds() };
	bool found;

	if (!set || !set->count)
		return false;
	found = !again && set->affinity_timeout &&
		backend_take(p, backend_of_client(&client, set->affinity_timeout, last.last_used));
	if (!found && !again && external && set->maglev_size)
		found = backend_take(p, backend_by_maglev(p, set_id, set));
	for (int i = 0; !found && i < CHOICES_MAX; i++)
		found = backend_take(p, backend_at_random(set_id, set));
	if (found && set->affinity_timeout) {
		last.backend = p->backend_id;
		bpf_map_update_elem(&affinity, &client, &last, BPF_ANY);
	}
	return found;
}
