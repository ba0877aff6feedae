// SPDX-License-Identifier: Apache-2.0
/*
 * Many TCP connections that are really there and really used.
 *
 *   connections WORKERS serve PORT                  echoes, until stdin ends
 *   connections WORKERS hold ADDRESS PORT COUNT [PAUSE_MS]   opens them, says so, and asks on one after the other until stdin ends
 *
 * - A process has only so many files, and an address only so many ports to reach a port from: each worker is a process, holds its own
 *   COUNT, and has the next PORT.
 * - Each worker says when it is ready, and at the end what became of it as one line of JSON; `retransmits` is the kernel's own count.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define FILES_MAX 20000
#define EVENTS 512
/* Asked at a time. */
#define WINDOW 64
#define ANSWER_MAX_MS 20000

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static socklen_t address_of(const char *text, int port, struct sockaddr_storage *out)
{
	struct sockaddr_in6 *six = (void *)out;
	struct sockaddr_in *four = (void *)out;

	memset(out, 0, sizeof(*out));
	if (strchr(text, ':')) {
		six->sin6_family = AF_INET6;
		six->sin6_port = htons(port);
		if (inet_pton(AF_INET6, text, &six->sin6_addr) == 1)
			return sizeof(*six);
	} else {
		four->sin_family = AF_INET;
		four->sin_port = htons(port);
		if (inet_pton(AF_INET, text, &four->sin_addr) == 1)
			return sizeof(*four);
	}
	fprintf(stderr, "%s is no address\n", text);
	exit(2);
}

static unsigned long retransmits_of(int fd)
{
	struct tcp_info info = {};
	socklen_t size = sizeof(info);

	return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) ? 0 : info.tcpi_total_retrans;
}

static bool stdin_ended(int wait_ms)
{
	struct pollfd in = { .fd = 0, .events = POLLIN };
	char byte;

	return poll(&in, 1, wait_ms) > 0 && read(0, &byte, 1) == 0;
}

static void watch(int epoll, int fd, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.fd = fd };

	if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event))
		die("epoll_ctl");
}

static int serve(int port)
{
	struct sockaddr_in6 any = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	int listener = socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK, 0), epoll = epoll_create1(0), one = 1;
	unsigned long served = 0, retransmits = 0;
	struct epoll_event events[EVENTS];
	static bool open_files[FILES_MAX + 1];
	char buffer[256];

	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(listener, (void *)&any, sizeof(any)) || listen(listener, 4096))
		die("listen");
	watch(epoll, listener, EPOLLIN);
	watch(epoll, 0, EPOLLIN);
	printf("listening\n");
	fflush(stdout);
	for (bool ended = false; !ended;) {
		int count = epoll_wait(epoll, events, EVENTS, -1);

		for (int i = 0; i < count; i++) {
			int fd = events[i].data.fd;
			ssize_t size;

			if (fd == 0) {
				ended = read(0, buffer, sizeof(buffer)) <= 0;
			} else if (fd == listener) {
				for (int conn; (conn = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0;) {
					setsockopt(conn, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
					watch(epoll, conn, EPOLLIN);
					open_files[conn] = true;
					served++;
				}
			} else if ((size = read(fd, buffer, sizeof(buffer))) > 0) {
				if (write(fd, buffer, size) != size)
					die("write");
			} else if (size == 0 || errno != EAGAIN) {
				retransmits += retransmits_of(fd);
				open_files[fd] = false;
				close(fd);
			}
		}
	}
	for (int fd = 0; fd <= FILES_MAX; fd++)
		if (open_files[fd])
			retransmits += retransmits_of(fd);
	printf("{\"connections\":%lu,\"retransmits\":%lu}\n", served, retransmits);
	return 0;
}

static int *connect_all(const char *address, int port, int count)
{
	struct sockaddr_storage to;
	socklen_t size = address_of(address, port, &to);
	int *fds = calloc(count, sizeof(int)), one = 1;

	for (int i = 0; i < count; i++) {
		fds[i] = socket(to.ss_family, SOCK_STREAM, 0);
		if (fds[i] < 0)
			die("socket");
		setsockopt(fds[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		if (connect(fds[i], (void *)&to, size))
			die("connect");
	}
	return fds;
}

/* False: no answer, or the connection is gone. */
static bool answered(int fd, uint64_t deadline)
{
	struct pollfd in = { .fd = fd, .events = POLLIN };
	uint64_t now = now_ms();
	char byte;

	if (recv(fd, &byte, 1, MSG_DONTWAIT) == 1)
		return true;
	return poll(&in, 1, now < deadline ? (int)(deadline - now) : 0) == 1 && recv(fd, &byte, 1, MSG_DONTWAIT) == 1;
}

static int hold(const char *address, int port, int count, int pause_ms)
{
	int *fds = connect_all(address, port, count);
	unsigned long asked = 0, broken = 0, retransmits = 0, rounds = 0;
	uint64_t slowest = 0;

	printf("connected\n");
	fflush(stdout);
	for (; !stdin_ended(pause_ms); rounds++) {
		for (int from = 0; from < count; from += WINDOW) {
			int to = from + WINDOW < count ? from + WINDOW : count;
			uint64_t began = now_ms(), took;

			for (int i = from; i < to; i++)
				if (fds[i] >= 0 && send(fds[i], "?", 1, MSG_NOSIGNAL) == 1)
					asked++;
			for (int i = from; i < to; i++) {
				if (fds[i] < 0 || answered(fds[i], began + ANSWER_MAX_MS))
					continue;
				broken++;
				close(fds[i]);
				fds[i] = -1;
			}
			took = now_ms() - began;
			if (took > slowest)
				slowest = took;
		}
	}
	for (int i = 0; i < count; i++)
		if (fds[i] >= 0)
			retransmits += retransmits_of(fds[i]);
	printf("{\"connections\":%d,\"rounds\":%lu,\"asked\":%lu,\"broken\":%lu,\"retransmits\":%lu,\"slowestMs\":%lu}\n", count,
	       rounds, asked, broken, retransmits, (unsigned long)slowest);
	return 0;
}

int main(int argc, char **argv)
{
	struct rlimit files;
	int workers = argc > 2 ? atoi(argv[1]) : 0;
	bool serves = argc == 4 && !strcmp(argv[2], "serve"), holds = (argc == 6 || argc == 7) && !strcmp(argv[2], "hold");

	if (workers < 1 || (!serves && !holds)) {
		fprintf(stderr, "usage: connections WORKERS serve PORT | WORKERS hold ADDRESS PORT COUNT [PAUSE_MS]\n");
		return 2;
	}
	if (getrlimit(RLIMIT_NOFILE, &files))
		die("getrlimit");
	files.rlim_cur = files.rlim_max < FILES_MAX ? files.rlim_max : FILES_MAX;
	if (setrlimit(RLIMIT_NOFILE, &files))
		die("setrlimit");
	for (int worker = 0; worker < workers; worker++)
		if (fork() == 0)
			return serves ? serve(atoi(argv[3]) + worker) : hold(argv[3], atoi(argv[4]) + worker, atoi(argv[5]),
								    argc == 7 ? atoi(argv[6]) : 0);
	for (int status, failed = 0;;) {
		if (wait(&status) < 0)
			return failed;
		failed |= status != 0;
	}
}
