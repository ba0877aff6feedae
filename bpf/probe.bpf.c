/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* One program for each thing that a kernel may lack: whether it loads is the answer. None is ever attached. */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#define SOCK_ADDR_PROBE(hook)                                                   \
	SEC("cgroup/" #hook)                                                    \
	int probe_##hook(struct bpf_sock_addr *ctx __attribute__((unused)))     \
	{                                                                       \
		return 1;                                                       \
	}

#define SOCK_PROBE(hook)                                                        \
	SEC("cgroup/" #hook)                                                    \
	int probe_##hook(struct bpf_sock *ctx __attribute__((unused)))          \
	{                                                                       \
		return 1;                                                       \
	}

SOCK_ADDR_PROBE(connect4)
SOCK_ADDR_PROBE(connect6)
SOCK_ADDR_PROBE(sendmsg4)
SOCK_ADDR_PROBE(sendmsg6)
SOCK_ADDR_PROBE(recvmsg4)
SOCK_ADDR_PROBE(recvmsg6)
SOCK_ADDR_PROBE(getpeername4)
SOCK_ADDR_PROBE(getpeername6)
SOCK_PROBE(post_bind4)
SOCK_PROBE(post_bind6)
SOCK_PROBE(sock_release)

SEC("cgroup/connect4")
int probe_connect_retval(struct bpf_sock_addr *ctx __attribute__((unused)))
{
	bpf_set_retval(-111);
	return 0;
}

SEC("cgroup/post_bind4")
int probe_bind_retval(struct bpf_sock *ctx __attribute__((unused)))
{
	bpf_set_retval(-98);
	return 0;
}

char _license[] SEC("license") = "Dual BSD/GPL";
