// SPDX-License-Identifier: Apache-2.0
/*
 * Sends one frame over and over, as fast as a packet socket takes it: past the stack, with checksums as they are on a wire.
 *
 *   packets NETNS CPU DEVICE SECONDS FRAME      FRAME in hexadecimal; prints `sent=N`
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BATCH 64
#define FRAME_MAX 2048

static void die(const char *what)
{
	fprintf(stderr, "packets: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static void enter(const char *netns, int cpu)
{
	int fd = open(netns, O_RDONLY | O_CLOEXEC);
	cpu_set_t set;

	if (fd < 0 || setns(fd, CLONE_NEWNET) < 0)
		die(netns);
	close(fd);
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set) < 0)
		die("sched_setaffinity");
}

static size_t from_hex(const char *text, unsigned char *bytes)
{
	size_t count = strlen(text) / 2;

	if (count > FRAME_MAX) {
		errno = EMSGSIZE;
		die("FRAME");
	}
	for (size_t i = 0; i < count; i++)
		if (sscanf(text + 2 * i, "%2hhx", &bytes[i]) != 1)
			die("FRAME");
	return count;
}

static int packet_socket(const char *device)
{
	struct sockaddr_ll to = { .sll_family = AF_PACKET, .sll_ifindex = if_nametoindex(device) };
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0), one = 1;

	if (fd < 0 || !to.sll_ifindex)
		die(device);
	if (setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &one, sizeof(one)) < 0 || bind(fd, (void *)&to, sizeof(to)) < 0)
		die("bind");
	return fd;
}

int main(int argc, char **argv)
{
	static unsigned char frame[FRAME_MAX];
	struct mmsghdr messages[BATCH] = {};
	struct iovec part = { frame, 0 };
	uint64_t end, sent = 0;
	int fd;

	if (argc != 6) {
		fprintf(stderr, "usage: packets NETNS CPU DEVICE SECONDS FRAME\n");
		return 2;
	}
	enter(argv[1], atoi(argv[2]));
	fd = packet_socket(argv[3]);
	part.iov_len = from_hex(argv[5], frame);
	for (int i = 0; i < BATCH; i++)
		messages[i].msg_hdr = (struct msghdr){ .msg_iov = &part, .msg_iovlen = 1 };
	end = now_ns() + atof(argv[4]) * 1e9;
	do {
		int taken = sendmmsg(fd, messages, BATCH, 0);

		if (taken < 0 && errno != ENOBUFS && errno != EAGAIN)
			die("sendmmsg");
		sent += taken > 0 ? taken : 0;
	} while (now_ns() < end);
	printf("sent=%llu\n", (unsigned long long)sent);
	return 0;
}
