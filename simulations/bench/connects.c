// SPDX-License-Identifier: Apache-2.0
/*
 * Connect, request, close over many paths side by side in one process: whatever else the machine does, it does to all of them.
 *
 *   connects CPU SECONDS NETNS,CGROUP,ADDRESS,PORT...      CGROUP `-`: the caller's; the server is that of bbnet.c
 *
 * - Sockets belong to the namespace and cgroup they are made in: a child for each path makes them there and hands them over. A block uses
 *   some of each path in short turns, in another order each time. Making a socket is not in the time; connect, the exchange and both ends'
 *   close are.
 * - One line for each block: the median of each path in us.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PATHS_MAX 16
#define BLOCK 32
#define TURN 8
#define MESSAGE 64
#define ECHO_AND_CLOSE 'c'
#define STALL_NS 5000000000ull

struct path {
	char *netns;
	char *cgroup;
	int maker; /* the child's end */
	struct sockaddr_in6 to;
	int sockets[BLOCK];
	uint32_t samples[BLOCK];
};

static struct path paths[PATHS_MAX];
static int count;

static void die(const char *what)
{
	fprintf(stderr, "connects: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static void parse(struct path *path, char *text)
{
	char *address, *port;

	path->netns = strtok(text, ",");
	path->cgroup = strtok(NULL, ",");
	address = strtok(NULL, ",");
	port = strtok(NULL, ",");
	errno = EINVAL;
	if (!port)
		die("NETNS,CGROUP,ADDRESS,PORT");
	path->to = (struct sockaddr_in6){ .sin6_family = AF_INET6, .sin6_port = htons(atoi(port)) };
	if (inet_pton(AF_INET6, address, &path->to.sin6_addr) != 1)
		die(address);
}

/* ---- children that make sockets ---- */

static void go_into(const struct path *path)
{
	int netns = open(path->netns, O_RDONLY | O_CLOEXEC), procs;
	char file[4096];

	if (netns < 0 || setns(netns, CLONE_NEWNET) < 0)
		die(path->netns);
	if (!strcmp(path->cgroup, "-"))
		return;
	snprintf(file, sizeof(file), "%s/cgroup.procs", path->cgroup);
	procs = open(file, O_WRONLY | O_CLOEXEC);
	if (procs < 0 || write(procs, "0", 1) < 0)
		die(file);
}

union block_message {
	struct cmsghdr header;
	char room[CMSG_SPACE(BLOCK * sizeof(int))];
};

static void hand_over(int to, const int *sockets)
{
	union block_message control = {};
	char byte = 0;
	struct iovec part = { &byte, 1 };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control) };

	control.header = (struct cmsghdr){ .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(BLOCK * sizeof(int)) };
	memcpy(CMSG_DATA(&control.header), sockets, BLOCK * sizeof(int));
	if (sendmsg(to, &message, MSG_NOSIGNAL) != 1)
		die("sendmsg");
}

static void make_sockets(int asked)
{
	int one = 1, zero = 0, sockets[BLOCK];
	char byte;

	while (read(asked, &byte, 1) == 1) {
		for (int i = 0; i < BLOCK; i++) {
			sockets[i] = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
			if (sockets[i] < 0)
				die("socket");
			setsockopt(sockets[i], IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero));
			setsockopt(sockets[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		}
		hand_over(asked, sockets);
		for (int i = 0; i < BLOCK; i++)
			close(sockets[i]);
	}
}

static void start_maker(struct path *path)
{
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) < 0)
		die("socketpair");
	switch (fork()) {
	case -1:
		die("fork");
		return;
	case 0:
		for (struct path *other = paths; other < path; other++)
			close(other->maker);
		close(ends[0]);
		go_into(path);
		make_sockets(ends[1]);
		exit(0);
	}
	close(ends[1]);
	path->maker = ends[0];
}

static void take_sockets(struct path *path)
{
	union block_message control = {};
	char byte = 0;
	struct iovec part = { &byte, 1 };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control) };

	if (write(path->maker, "", 1) != 1 || recvmsg(path->maker, &message, MSG_CMSG_CLOEXEC) != 1)
		die("recvmsg");
	memcpy(path->sockets, CMSG_DATA(&control.header), BLOCK * sizeof(int));
}

/* ---- the client ---- */

/* Polls: a blocking socket would measure the wake-up of an idle virtual CPU. */
static ssize_t read_polling(int fd, char *into, size_t size)
{
	uint64_t give_up = now_ns() + STALL_NS;
	ssize_t got;

	while ((got = recv(fd, into, size, MSG_DONTWAIT)) < 0) {
		if (errno != EAGAIN)
			die("recv");
		if (now_ns() > give_up) {
			errno = ETIMEDOUT;
			die("recv");
		}
	}
	return got;
}

static uint32_t once(int fd, const struct sockaddr_in6 *to)
{
	char message[MESSAGE] = { ECHO_AND_CLOSE };
	uint64_t began = now_ns();

	if (connect(fd, (const void *)to, sizeof(*to)) < 0)
		die("connect");
	if (send(fd, message, MESSAGE, MSG_NOSIGNAL) != MESSAGE)
		die("send");
	while (read_polling(fd, message, MESSAGE) > 0)
		;
	close(fd);
	return now_ns() - began;
}

static int by_size(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static void block(void)
{
	for (int i = 0; i < count; i++)
		take_sockets(&paths[i]);
	for (int first = 0; first < BLOCK; first += TURN) {
		int shift = rand() % count, step = rand() % 2 ? 1 : count - 1;

		for (int i = 0; i < count; i++) {
			struct path *path = &paths[(shift + i * step) % count];

			for (int j = first; j < first + TURN; j++)
				path->samples[j] = once(path->sockets[j], &path->to);
		}
	}
	for (int i = 0; i < count; i++) {
		qsort(paths[i].samples, BLOCK, sizeof(uint32_t), by_size);
		printf("%s%.2f", i ? " " : "", paths[i].samples[BLOCK / 2] / 1e3);
	}
	puts("");
	fflush(stdout);
}

int main(int argc, char **argv)
{
	uint64_t end;
	cpu_set_t set;

	if (argc < 4 || argc - 3 > PATHS_MAX) {
		fprintf(stderr, "usage: connects CPU SECONDS NETNS,CGROUP,ADDRESS,PORT...\n");
		return 2;
	}
	CPU_ZERO(&set);
	CPU_SET(atoi(argv[1]), &set);
	if (sched_setaffinity(0, sizeof(set), &set) < 0)
		die("sched_setaffinity");
	for (count = 0; count < argc - 3; count++) {
		parse(&paths[count], argv[3 + count]);
		start_maker(&paths[count]);
	}
	end = now_ns() + atof(argv[2]) * 1e9;
	do
		block();
	while (now_ns() < end);
	/* The children end with their input, and leave the cgroups, which their owner removes. */
	for (int i = 0; i < count; i++)
		close(paths[i].maker);
	while (wait(NULL) > 0)
		;
	return 0;
}
