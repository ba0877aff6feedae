/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The programs at a node's cgroup: services for the sockets of its pods and its own processes, hostNetwork pods among them.
 *
 *   connect4/6      TCP, SCTP and connected UDP: the backend instead of the service
 *   sendmsg4/6      the same for datagrams of sockets that are not connected
 *   recvmsg4/6      datagrams from the backend seem to come from the service
 *   getpeername4/6  shows the service
 *   sock_release    a socket is closed: what is noted of it goes
 *   post_bind4/6    a host process does not get a port that a service has on the node
 *
 * What comes back from the kernel's side of a hook is SOCK_PASS or SOCK_REFUSE; recvmsg and getpeername may not refuse.
 */
#include "lib/sock.h"

inline_fn int refuse_connect(void)
{
	if (sock_config.refuse_connect)
		bpf_set_retval(-ECONNREFUSED);
	return SOCK_REFUSE;
}

inline_fn int refuse_bind(void)
{
	if (sock_config.refuse_bind)
		bpf_set_retval(-EADDRINUSE);
	return SOCK_REFUSE;
}

inline_fn void end_from_ipv4(struct sock_end *end, const struct bpf_sock_addr *ctx)
{
	addr_from_ipv4(&end->addr, ctx->user_ip4);
	end->port = ctx->user_port;
	end->proto = ctx->protocol;
}

inline_fn void end_from_ipv6(struct sock_end *end, const struct bpf_sock_addr *ctx)
{
	end->addr.w[0] = ctx->user_ip6[0];
	end->addr.w[1] = ctx->user_ip6[1];
	end->addr.w[2] = ctx->user_ip6[2];
	end->addr.w[3] = ctx->user_ip6[3];
	end->port = ctx->user_port;
	end->proto = ctx->protocol;
}

inline_fn void write_ipv4(struct bpf_sock_addr *ctx, const struct addr *addr, __be16 port)
{
	ctx->user_ip4 = addr->w[3];
	ctx->user_port = port;
}

inline_fn void write_ipv6(struct bpf_sock_addr *ctx, const struct addr *addr, __be16 port)
{
	ctx->user_ip6[0] = addr->w[0];
	ctx->user_ip6[1] = addr->w[1];
	ctx->user_ip6[2] = addr->w[2];
	ctx->user_ip6[3] = addr->w[3];
	ctx->user_port = port;
}

SEC("cgroup/connect4")
int sock_connect4(struct bpf_sock_addr *ctx)
{
	struct sock_end to = {};
	enum sock_outcome outcome;

	end_from_ipv4(&to, ctx);
	outcome = sock_connect(ctx, &to);
	if (outcome == SOCK_NO_BACKEND)
		return refuse_connect();
	if (outcome == SOCK_TRANSLATED)
		write_ipv4(ctx, &to.addr, to.port);
	return SOCK_PASS;
}

SEC("cgroup/connect6")
int sock_connect6(struct bpf_sock_addr *ctx)
{
	struct sock_end to = {};
	enum sock_outcome outcome;

	end_from_ipv6(&to, ctx);
	outcome = sock_connect(ctx, &to);
	if (outcome == SOCK_NO_BACKEND)
		return refuse_connect();
	if (outcome == SOCK_TRANSLATED)
		write_ipv6(ctx, &to.addr, to.port);
	return SOCK_PASS;
}

SEC("cgroup/sendmsg4")
int sock_sendmsg4(struct bpf_sock_addr *ctx)
{
	struct sock_end to = {};
	enum sock_outcome outcome;

	end_from_ipv4(&to, ctx);
	outcome = sock_sendmsg(ctx, &to);
	if (outcome == SOCK_NO_BACKEND)
		return refuse_connect();
	if (outcome == SOCK_TRANSLATED)
		write_ipv4(ctx, &to.addr, to.port);
	return SOCK_PASS;
}

/* The kernel hands IPv4-mapped destinations to sendmsg4. */
SEC("cgroup/sendmsg6")
int sock_sendmsg6(struct bpf_sock_addr *ctx)
{
	struct sock_end to = {};
	enum sock_outcome outcome;

	end_from_ipv6(&to, ctx);
	outcome = sock_sendmsg(ctx, &to);
	if (outcome == SOCK_NO_BACKEND)
		return refuse_connect();
	if (outcome == SOCK_TRANSLATED)
		write_ipv6(ctx, &to.addr, to.port);
	return SOCK_PASS;
}

/* Who is at the other end, in the eyes of the process. */
inline_fn int show_service_ipv4(struct bpf_sock_addr *ctx)
{
	struct sock_end from = {};
	struct sock_revnat *frontend;

	end_from_ipv4(&from, ctx);
	frontend = remembered_connected(bpf_get_socket_cookie(ctx), &from);
	if (frontend)
		write_ipv4(ctx, &frontend->addr, frontend->port);
	return SOCK_PASS;
}

inline_fn int show_service_ipv6(struct bpf_sock_addr *ctx)
{
	struct sock_end from = {};
	struct sock_revnat *frontend;

	end_from_ipv6(&from, ctx);
	frontend = remembered_connected(bpf_get_socket_cookie(ctx), &from);
	if (frontend)
		write_ipv6(ctx, &frontend->addr, frontend->port);
	return SOCK_PASS;
}

SEC("cgroup/recvmsg4")
int sock_recvmsg4(struct bpf_sock_addr *ctx)
{
	return show_service_ipv4(ctx);
}

SEC("cgroup/recvmsg6")
int sock_recvmsg6(struct bpf_sock_addr *ctx)
{
	return show_service_ipv6(ctx);
}

SEC("cgroup/getpeername4")
int sock_getpeername4(struct bpf_sock_addr *ctx)
{
	return show_service_ipv4(ctx);
}

SEC("cgroup/getpeername6")
int sock_getpeername6(struct bpf_sock_addr *ctx)
{
	return show_service_ipv6(ctx);
}

/* The bound port is in host order here. */
SEC("cgroup/post_bind4")
int sock_post_bind4(struct bpf_sock *ctx)
{
	struct sock_end at = { .port = bpf_htons(ctx->src_port), .proto = ctx->protocol };

	addr_from_ipv4(&at.addr, ctx->src_ip4);
	return is_service_port(ctx, &at) ? refuse_bind() : SOCK_PASS;
}

SEC("cgroup/post_bind6")
int sock_post_bind6(struct bpf_sock *ctx)
{
	struct sock_end at = { .port = bpf_htons(ctx->src_port), .proto = ctx->protocol };

	at.addr.w[0] = ctx->src_ip6[0];
	at.addr.w[1] = ctx->src_ip6[1];
	at.addr.w[2] = ctx->src_ip6[2];
	at.addr.w[3] = ctx->src_ip6[3];
	return is_service_port(ctx, &at) ? refuse_bind() : SOCK_PASS;
}

/* What it is connected to is still known here. Datagram sockets that are not connected leave their notes to the LRU's judgement. */
SEC("cgroup/sock_release")
int sock_sock_release(struct bpf_sock *ctx)
{
	struct sock_end to = { .port = ctx->dst_port, .proto = ctx->protocol };
	__be32 ipv4;

	if (!to.port || !is_translated_proto(to.proto))
		return SOCK_PASS;
	if (ctx->family == AF_INET) {
		ipv4 = ctx->dst_ip4;
		/* Else the two loads become one from a computed place of the context, which no verifier takes. */
		asm volatile("" : "+r"(ipv4));
		addr_from_ipv4(&to.addr, ipv4);
	} else {
		to.addr.w[0] = ctx->dst_ip6[0];
		to.addr.w[1] = ctx->dst_ip6[1];
		to.addr.w[2] = ctx->dst_ip6[2];
		to.addr.w[3] = ctx->dst_ip6[3];
	}
	forget_connected(bpf_get_socket_cookie(ctx), &to);
	return SOCK_PASS;
}

char _license[] SEC("license") = "Dual BSD/GPL";
