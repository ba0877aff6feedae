// SPDX-License-Identifier: Apache-2.0
/*
 * A client of HTTP that costs so little that a thousand new connections a second are there on a busy machine too.
 *
 *   http-ask RATE LOCAL_IPV4 LOCAL_IPV6 URL...      a request on a new connection each; local addresses may be `-`
 *
 * - Prints its tally as a line of JSON five times a second, and ends with its standard input: what load.mjs asks and counts.
 * - URLs name addresses: http://ADDRESS:PORT/ or http://[ADDRESS]:PORT/.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PENDING_MAX 256
#define MESSAGE_MAX 4096
#define TIMEOUT_MS 3000
#define REPORT_MS 200
#define FAILURES_MAX 20
#define NAMES_MAX 64
#define TARGETS_MAX 16

static void die(const char *what)
{
	fprintf(stderr, "http-ask: %s: %s\n", what, strerror(errno));
	exit(1);
}

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

static void watch(int epoll, int fd, uint32_t events, void *what)
{
	struct epoll_event event = { .events = events, .data.ptr = what };

	if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0)
		die("epoll_ctl");
}

struct target {
	const char *url;
	int family;
	struct sockaddr_storage to, from;
	socklen_t size;
	bool bound;
};

struct request {
	int fd; /* -1: free */
	bool sent;
	struct target *target;
	double began;
	size_t have;
	char text[MESSAGE_MAX];
};

static struct target targets[TARGETS_MAX];
static struct request requests[PENDING_MAX];
static int target_count, pending, epoll;
static unsigned long asked, failed, slowest;
static char failures[FAILURES_MAX][256];
static int failure_count;
static struct {
	char name[64];
	unsigned long count;
} names[NAMES_MAX];

static socklen_t address_of(struct sockaddr_storage *into, int family, const char *text, int port)
{
	struct sockaddr_in6 *six = (void *)into;
	struct sockaddr_in *four = (void *)into;

	into->ss_family = family;
	if (inet_pton(family, text, family == AF_INET6 ? (void *)&six->sin6_addr : (void *)&four->sin_addr) != 1) {
		errno = EINVAL;
		die(text);
	}
	*(family == AF_INET6 ? &six->sin6_port : &four->sin_port) = htons(port);
	return family == AF_INET6 ? sizeof(*six) : sizeof(*four);
}

static void add_target(const char *url, const char *local4, const char *local6)
{
	struct target *target = &targets[target_count++];
	char address[64];
	int port = 80;

	target->url = url;
	target->family = strchr(url, '[') ? AF_INET6 : AF_INET;
	if (sscanf(url, target->family == AF_INET6 ? "http://[%63[^]]]:%d" : "http://%63[^:/]:%d", address, &port) < 1) {
		errno = EINVAL;
		die(url);
	}
	target->size = address_of(&target->to, target->family, address, port);
	target->bound = strcmp(target->family == AF_INET6 ? local6 : local4, "-");
	if (target->bound)
		address_of(&target->from, target->family, target->family == AF_INET6 ? local6 : local4, 0);
}

static void end(struct request *request, const char *failure)
{
	double took = now_ms() - request->began;

	close(request->fd);
	request->fd = -1;
	pending--;
	if (failure) {
		failed++;
		if (failure_count < FAILURES_MAX)
			snprintf(failures[failure_count++], sizeof(failures[0]), "%ld %s: %s", (long)time(NULL), request->target->url, failure);
		return;
	}
	asked++;
	if (took > slowest)
		slowest = took;
}

static void begin(struct target *target)
{
	struct request *request = requests;
	int one = 1;

	while (request->fd >= 0)
		request++;
	*request = (struct request){ .target = target, .began = now_ms() };
	request->fd = socket(target->family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	pending++;
	if (request->fd < 0)
		die("socket");
	if (target->bound) {
		setsockopt(request->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
		if (bind(request->fd, (void *)&target->from, target->size) < 0)
			return end(request, strerror(errno));
	}
	if (connect(request->fd, (void *)&target->to, target->size) < 0 && errno != EINPROGRESS)
		return end(request, strerror(errno));
	watch(epoll, request->fd, EPOLLIN | EPOLLOUT, request);
}

static void count_name(const char *name)
{
	int i = 0;

	while (i < NAMES_MAX - 1 && names[i].count && strcmp(names[i].name, name))
		i++;
	snprintf(names[i].name, sizeof(names[i].name), "%s", name);
	names[i].count++;
}

static void finish(struct request *request)
{
	char *body;

	request->text[request->have] = 0;
	body = strstr(request->text, "\r\n\r\n");
	if (!body)
		return end(request, "ended before an answer");
	if (strncmp(request->text, "HTTP/1.1 200", 12))
		return end(request, "not 200");
	body += 4;
	body[strcspn(body, "\r\n\"\\")] = 0;
	count_name(body);
	end(request, NULL);
}

static void proceed(struct request *request)
{
	static const char text[] = "GET / HTTP/1.1\r\nHost: load\r\nConnection: close\r\n\r\n";
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = request };
	ssize_t got;

	if (!request->sent) {
		if (send(request->fd, text, sizeof(text) - 1, MSG_NOSIGNAL) < 0) {
			if (errno != EAGAIN)
				end(request, strerror(errno));
			return;
		}
		request->sent = true;
		epoll_ctl(epoll, EPOLL_CTL_MOD, request->fd, &event);
		return;
	}
	got = recv(request->fd, request->text + request->have, sizeof(request->text) - 1 - request->have, 0);
	if (got > 0)
		request->have += got;
	else if (got == 0)
		finish(request);
	else if (errno != EAGAIN)
		end(request, strerror(errno));
}

static void report(void)
{
	printf("{\"asked\":%lu,\"failed\":%lu,\"slowestMs\":%lu,\"failures\":[", asked, failed, slowest);
	for (int i = 0; i < failure_count; i++)
		printf("%s\"%s\"", i ? "," : "", failures[i]);
	printf("],\"answers\":{");
	for (int i = 0; i < NAMES_MAX && names[i].count; i++)
		printf("%s\"%s\":%lu", i ? "," : "", names[i].name, names[i].count);
	puts("}}");
	fflush(stdout);
}

static void ask(double rate)
{
	double last = now_ms(), reported = last, due = 0, now;
	struct epoll_event events[64];
	unsigned int turn = 0;
	char byte;

	epoll = epoll_create1(0);
	for (int i = 0; i < PENDING_MAX; i++)
		requests[i].fd = -1;
	for (;;) {
		struct pollfd input = { .fd = 0, .events = POLLIN };
		int count = epoll_wait(epoll, events, 64, 2);

		for (int i = 0; i < count; i++)
			proceed(events[i].data.ptr);
		now = now_ms();
		for (int i = 0; i < PENDING_MAX; i++)
			if (requests[i].fd >= 0 && now - requests[i].began > TIMEOUT_MS)
				end(&requests[i], "timed out after 3 s");
		due += rate * (now - last) / 1e3;
		if (due > PENDING_MAX)
			due = PENDING_MAX;
		for (last = now; due >= 1 && pending < PENDING_MAX; due--)
			begin(&targets[turn++ % target_count]);
		if (now - reported < REPORT_MS)
			continue;
		reported = now;
		report();
		if (poll(&input, 1, 0) > 0 && read(0, &byte, 1) <= 0)
			return;
	}
}

int main(int argc, char **argv)
{
	if (argc < 5 || argc - 4 > TARGETS_MAX) {
		fprintf(stderr, "usage: http-ask RATE LOCAL_IPV4 LOCAL_IPV6 URL...\n");
		return 2;
	}
	for (int i = 4; i < argc; i++)
		add_target(argv[i], argv[2], argv[3]);
	ask(atof(argv[1]));
	return 0;
}
