// SPDX-License-Identifier: Apache-2.0
/*
 * Client and server of the pod-to-pod benchmark. Both poll: a blocking socket would measure the wake-up of an idle virtual CPU.
 *
 *   bbnet server NETNS CPU PORT                 TCP and UDP; prints `ready`, ends with its standard input
 *   bbnet client NETNS CPU ADDRESS PORT MODE S  MODE rr, crr, udp or stream, for S seconds; prints `name=value` words
 *
 * - The first byte of a TCP connection's message says what is wanted: one of enum request.
 * - rr: 64 bytes there and back on one connection. crr: connect, rr, end of file from the server, close; one after another.
 * - udp: 64-byte datagrams as fast as they go; what the server counted is the result. stream: bytes that the server read.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MESSAGE 64
#define CONNECTIONS_MAX 64
#define SAMPLES_MAX (4u << 20)
#define BULK (256 << 10)
#define BATCH 32
#define WARM_UP_NS 200000000ull
#define STALL_NS 5000000000ull

enum request { ECHO = 'e', ECHO_AND_CLOSE = 'c', COUNT_DATAGRAMS = 'd', SINK = 's' };

static void die(const char *what)
{
	fprintf(stderr, "bbnet: %s: %s\n", what, strerror(errno));
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
	cpu_set_t set;
	int fd = open(netns, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || setns(fd, CLONE_NEWNET) < 0)
		die(netns);
	close(fd);
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set) < 0)
		die("sched_setaffinity");
}

/* IPv6 sockets for both families: IPv4 addresses are given as ::ffff:a.b.c.d. */
static struct sockaddr_in6 address_of(const char *text, int port)
{
	struct sockaddr_in6 address = { .sin6_family = AF_INET6, .sin6_port = htons(port) };

	if (inet_pton(AF_INET6, text, &address.sin6_addr) != 1) {
		errno = EINVAL;
		die(text);
	}
	return address;
}

static int new_socket(int type, bool nonblocking)
{
	int one = 1, zero = 0, fd = socket(AF_INET6, type | SOCK_CLOEXEC | (nonblocking ? SOCK_NONBLOCK : 0), 0);

	if (fd < 0)
		die("socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero));
	if (type == SOCK_STREAM)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return fd;
}

/* ---- server ---- */

struct connection {
	int fd;
	char request; /* 0 until the first message */
	uint64_t bytes;
};

static uint64_t datagrams;

/* False when the connection has ended. */
static bool serve_connection(struct connection *connection)
{
	static char bulk[BULK];
	char *message = bulk;
	ssize_t got = recv(connection->fd, bulk, connection->request == SINK ? BULK : MESSAGE, MSG_DONTWAIT);

	if (got < 0)
		return errno == EAGAIN;
	if (got == 0) {
		if (connection->request == SINK)
			send(connection->fd, &connection->bytes, sizeof(connection->bytes), MSG_NOSIGNAL);
		return false;
	}
	connection->bytes += got;
	if (!connection->request)
		connection->request = message[0];
	switch (connection->request) {
	case SINK:
		return true;
	case COUNT_DATAGRAMS:
		memcpy(message, &datagrams, sizeof(datagrams));
		break;
	}
	send(connection->fd, message, MESSAGE, MSG_NOSIGNAL);
	return connection->request != ECHO_AND_CLOSE;
}

static void count_datagrams(int fd)
{
	static char bytes[BATCH][MESSAGE];
	struct iovec parts[BATCH];
	struct mmsghdr messages[BATCH] = {};
	int got;

	for (int i = 0; i < BATCH; i++) {
		parts[i] = (struct iovec){ bytes[i], MESSAGE };
		messages[i].msg_hdr = (struct msghdr){ .msg_iov = &parts[i], .msg_iovlen = 1 };
	}
	got = recvmmsg(fd, messages, BATCH, MSG_DONTWAIT, NULL);
	if (got > 0)
		datagrams += got;
}

static void serve(int port)
{
	struct sockaddr_in6 any = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	struct connection connections[CONNECTIONS_MAX];
	struct pollfd input = { .fd = 0, .events = POLLIN };
	int listener = new_socket(SOCK_STREAM, true), udp = new_socket(SOCK_DGRAM, true), count = 0;

	if (bind(listener, (void *)&any, sizeof(any)) < 0 || listen(listener, CONNECTIONS_MAX) < 0)
		die("listen");
	if (bind(udp, (void *)&any, sizeof(any)) < 0)
		die("bind");
	puts("ready");
	fflush(stdout);
	for (unsigned int turn = 0;; turn++) {
		/* An accept that finds nothing makes and frees a file all the same: not beside a connection's bytes. */
		bool accepts = count == 0 || (turn % 256 == 0 && count < CONNECTIONS_MAX);
		int fd = accepts ? accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC) : -1;

		if (fd >= 0)
			connections[count++] = (struct connection){ .fd = fd };
		for (int i = count - 1; i >= 0; i--) {
			if (serve_connection(&connections[i]))
				continue;
			close(connections[i].fd);
			connections[i] = connections[--count];
		}
		count_datagrams(udp);
		/* The parent's end closes our input. */
		if (turn % 4096 == 0 && poll(&input, 1, 0) > 0)
			return;
	}
}

/* ---- client ---- */

static struct sockaddr_in6 server;

static int dial(void)
{
	int fd = new_socket(SOCK_STREAM, false);

	if (connect(fd, (void *)&server, sizeof(server)) < 0)
		die("connect");
	return fd;
}

/* Bytes read, fewer only at the end of the stream. */
static size_t read_polling(int fd, void *into, size_t size)
{
	uint64_t give_up = now_ns() + STALL_NS;
	size_t have = 0;

	while (have < size) {
		ssize_t got = recv(fd, (char *)into + have, size - have, MSG_DONTWAIT);

		if (got == 0)
			break;
		if (got > 0)
			have += got;
		else if (errno != EAGAIN)
			die("recv");
		else if (now_ns() > give_up) {
			errno = ETIMEDOUT;
			die("recv");
		}
	}
	return have;
}

static void exchange(int fd, enum request request, char *message)
{
	message[0] = request;
	if (send(fd, message, MESSAGE, MSG_NOSIGNAL) != MESSAGE)
		die("send");
	if (read_polling(fd, message, MESSAGE) != MESSAGE) {
		errno = ECONNRESET;
		die("recv");
	}
}

static int by_size(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

/* Round trips on one connection, or each on its own. */
static void round_trips(double seconds, bool connecting)
{
	uint32_t *samples = malloc(SAMPLES_MAX * sizeof(*samples)), count = 0;
	uint64_t start = now_ns() + WARM_UP_NS, end = start + seconds * 1e9, began, ended;
	char message[MESSAGE] = {}, rest;
	int fd = connecting ? -1 : dial();

	do {
		began = now_ns();
		if (connecting) {
			fd = dial();
			exchange(fd, ECHO_AND_CLOSE, message);
			read_polling(fd, &rest, 1);
			close(fd);
		} else {
			exchange(fd, ECHO, message);
		}
		ended = now_ns();
		if (began >= start && count < SAMPLES_MAX)
			samples[count++] = ended - began;
	} while (ended < end);
	if (!count)
		die("no sample");
	qsort(samples, count, sizeof(*samples), by_size);
	printf("p50=%.2f p99=%.2f rate=%.0f\n", samples[count / 2] / 1e3, samples[(uint64_t)count * 99 / 100] / 1e3,
	       count / ((ended - start) / 1e9));
}

static uint64_t datagrams_received(int fd)
{
	char message[MESSAGE] = {};
	uint64_t count;

	exchange(fd, COUNT_DATAGRAMS, message);
	memcpy(&count, message, sizeof(count));
	return count;
}

static void flood(double seconds)
{
	char message[MESSAGE] = {};
	int control = dial(), fd = new_socket(SOCK_DGRAM, false);
	uint64_t start = now_ns() + WARM_UP_NS, sent = 0, before, after, began, now;

	if (connect(fd, (void *)&server, sizeof(server)) < 0)
		die("connect");
	while (now_ns() < start)
		send(fd, message, MESSAGE, 0);
	before = datagrams_received(control);
	began = now_ns();
	do {
		for (int i = 0; i < BATCH; i++)
			sent += send(fd, message, MESSAGE, 0) == MESSAGE;
		now = now_ns();
	} while (now < began + seconds * 1e9);
	after = datagrams_received(control);
	printf("rate=%.0f sent=%.0f\n", (after - before) / ((now - began) / 1e9), sent / ((now - began) / 1e9));
}

static void stream(double seconds)
{
	static char bulk[BULK] = { SINK };
	int fd = dial();
	uint64_t start = now_ns(), end = start + seconds * 1e9, bytes = 0;

	while (now_ns() < end)
		if (send(fd, bulk, BULK, MSG_NOSIGNAL) < 0)
			die("send");
	shutdown(fd, SHUT_WR);
	if (read_polling(fd, &bytes, sizeof(bytes)) != sizeof(bytes))
		die("recv");
	printf("gbps=%.3f\n", bytes * 8 / (double)(now_ns() - start));
}

int main(int argc, char **argv)
{
	double seconds;

	if (argc == 5 && !strcmp(argv[1], "server")) {
		enter(argv[2], atoi(argv[3]));
		serve(atoi(argv[4]));
		return 0;
	}
	if (argc != 8 || strcmp(argv[1], "client")) {
		fprintf(stderr, "usage: bbnet server NETNS CPU PORT | client NETNS CPU ADDRESS PORT rr|crr|udp|stream SECONDS\n");
		return 2;
	}
	enter(argv[2], atoi(argv[3]));
	server = address_of(argv[4], atoi(argv[5]));
	seconds = atof(argv[7]);
	if (!strcmp(argv[6], "rr"))
		round_trips(seconds, false);
	else if (!strcmp(argv[6], "crr"))
		round_trips(seconds, true);
	else if (!strcmp(argv[6], "udp"))
		flood(seconds);
	else
		stream(seconds);
	return 0;
}
