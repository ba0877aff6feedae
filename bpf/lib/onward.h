/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* To another node, or out of the cluster: by tunnel, through the stack that encrypts, or out of a native device. */
#pragma once

#include "overlay.h"

#undef SOURCE_FILE
#define SOURCE_FILE SOURCE_DELIVERY

/*
 * look_up_destination has said who is there. Out of a native device as the routing table says; what it does not say plainly is the
 * stack's. A service's reply is translated only when it is sure to go: the stack would take one from an address of ours for spoofed.
 */
noinline_fn int to_network(struct __sk_buff *skb, struct packet *p, bool due)
{
	long routed;
	int ret;

	if (is_behind_tunnel(p))
		return to_overlay(skb, p, due);
	if (p->ttl <= 1)
		return to_stack(skb, p, TRACE_TO_STACK, due);
	if (config.encryption == ENCRYPTION_IPSEC && p->encrypt_key && p->service < SERVICE_TO_CLIENT)
		return to_xfrm(skb, p, due);
	routed = route(skb, p);
	if (!is_routed(routed))
		return to_stack(skb, p, TRACE_TO_STACK, due);
	if (p->service >= SERVICE_TO_CLIENT) {
		ret = service_restore(skb, p);
		if (ret < 0)
			return ret;
		mark_translated(skb);
	}
	return send_routed(skb, p, routed, due);
}
