// SPDX-License-Identifier: Apache-2.0
/*
 * Connect, request, close over many paths side by side in one process: whatever else the machine does, it does to all of them.
 *
 *   connects CPU SECONDS CGROUP2-MOUNT NETNS,CGROUP,ADDRESS,PORT...      CGROUP `-`: the caller's; the server is that of bbnet.c
 *
 * - Sockets belong to the namespace and cgroup they are made in, so a block first makes some of each path and then uses them in short
 *   turns, in another order each time. Making a socket is not in the time; connect, the exchange and both ends' close are.
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
#include <time.h>
#include <unistd.h>

#define PATHS_MAX 16
#define BLOCK 96
#define TURN 8
#define MESSAGE 64
#define ECHO_AND_CLOSE 'c'
#define STALL_NS 5000000000ull

struct path {
	int netns;
	int cgroup; /* its cgroup.procs */
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
	char *netns = strtok(text, ","), *cgroup = strtok(NULL, ","), *address = strtok(NULL, ","), *port = strtok(NULL, ",");
	char procs[4096];

	errno = EINVAL;
	if (!port || snprintf(procs, sizeof(procs), "%s/cgroup.procs", cgroup) >= (int)sizeof(procs))
		die("NETNS,CGROUP,ADDRESS,PORT");
	path->netns = open(netns, O_RDONLY | O_CLOEXEC);
	if (path->netns < 0)
		die(netns);
	path->cgroup = strcmp(cgroup, "-") ? open(procs, O_WRONLY | O_CLOEXEC) : -1;
	if (path->cgroup < 0 && strcmp(cgroup, "-"))
		die(procs);
	path->to = (struct sockaddr_in6){ .sin6_family = AF_INET6, .sin6_port = htons(atoi(port)) };
	if (inet_pton(AF_INET6, address, &path->to.sin6_addr) != 1)
		die(address);
}

/* In the path's namespace and cgroup. */
static void make_sockets(struct path *path)
{
	int one = 1, zero = 0;

	if (setns(path->netns, CLONE_NEWNET) < 0)
		die("setns");
	if (path->cgroup >= 0 && write(path->cgroup, "0", 1) < 0)
		die("cgroup");
	for (int i = 0; i < BLOCK; i++) {
		int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

		if (fd < 0)
			die("socket");
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero));
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		path->sockets[i] = fd;
	}
}

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

static void block(int home)
{
	for (int i = 0; i < count; i++) {
		/* Paths without a cgroup are made in the one that we came from. */
		if (paths[i].cgroup < 0 && write(home, "0", 1) < 0)
			die("cgroup");
		make_sockets(&paths[i]);
	}
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

/* The caller's cgroup.procs, in the version 2 hierarchy that the paths' are of; -1: no path has a cgroup. */
static int home_cgroup(const char *root)
{
	char line[4096], procs[8192];
	FILE *own = fopen("/proc/self/cgroup", "r");
	int fd = -1;

	while (own && fgets(line, sizeof(line), own)) {
		if (strncmp(line, "0::", 3))
			continue;
		line[strcspn(line, "\n")] = 0;
		snprintf(procs, sizeof(procs), "%s%s/cgroup.procs", root, line + 3);
		fd = open(procs, O_WRONLY | O_CLOEXEC);
		if (fd < 0)
			die(procs);
	}
	if (own)
		fclose(own);
	return fd;
}

int main(int argc, char **argv)
{
	uint64_t end;
	cpu_set_t set;
	int home;

	if (argc < 5 || argc - 4 > PATHS_MAX) {
		fprintf(stderr, "usage: connects CPU SECONDS CGROUP2-MOUNT NETNS,CGROUP,ADDRESS,PORT...\n");
		return 2;
	}
	CPU_ZERO(&set);
	CPU_SET(atoi(argv[1]), &set);
	if (sched_setaffinity(0, sizeof(set), &set) < 0)
		die("sched_setaffinity");
	home = home_cgroup(argv[3]);
	for (count = 0; count < argc - 4; count++)
		parse(&paths[count], argv[4 + count]);
	end = now_ns() + atof(argv[2]) * 1e9;
	do
		block(home);
	while (now_ns() < end);
	/* Out of the cgroups, which their owner removes. */
	if (write(home, "0", 1) < 0)
		die("cgroup");
	return 0;
}
