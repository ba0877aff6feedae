// SPDX-License-Identifier: Apache-2.0
/*
 * A server of HTTP that costs little: it answers every request with its name.
 *
 *   http-serve PORT NAME
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONNECTIONS_MAX 4096
#define MESSAGE_MAX 4096

static void die(const char *what)
{
	fprintf(stderr, "http-serve: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void watch(int epoll, int fd, uint32_t events, void *what)
{
	struct epoll_event event = { .events = events, .data.ptr = what };

	if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0)
		die("epoll_ctl");
}

struct client {
	int fd;
	size_t have;
	char request[MESSAGE_MAX];
};

/* False when the connection has ended. */
static bool answer(struct client *client, const char *name)
{
	ssize_t got = recv(client->fd, client->request + client->have, sizeof(client->request) - 1 - client->have, 0);
	char text[MESSAGE_MAX];
	bool closes;
	int length;

	if (got <= 0)
		return got < 0 && errno == EAGAIN;
	client->have += got;
	client->request[client->have] = 0;
	if (!strstr(client->request, "\r\n\r\n"))
		return client->have < sizeof(client->request) - 1;
	closes = strcasestr(client->request, "connection: close");
	length = snprintf(text, sizeof(text), "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\nConnection: %s\r\n\r\n%s\n", strlen(name) + 1,
			  closes ? "close" : "keep-alive", name);
	send(client->fd, text, length, MSG_NOSIGNAL);
	client->have = 0;
	return !closes;
}

static void serve(int port, const char *name)
{
	struct sockaddr_in6 any = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	int listener = socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), epoll = epoll_create1(0), one = 1, fd;
	struct epoll_event events[64];

	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(listener, (void *)&any, sizeof(any)) < 0 || listen(listener, CONNECTIONS_MAX) < 0)
		die("listen");
	watch(epoll, listener, EPOLLIN, NULL);
	for (;;) {
		int count = epoll_wait(epoll, events, 64, -1);

		for (int i = 0; i < count; i++) {
			struct client *client = events[i].data.ptr;

			if (client) {
				if (answer(client, name))
					continue;
				close(client->fd);
				free(client);
				continue;
			}
			while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
				client = calloc(1, sizeof(*client));
				client->fd = fd;
				watch(epoll, fd, EPOLLIN, client);
			}
		}
	}
}

int main(int argc, char **argv)
{
	if (argc != 3) {
		fprintf(stderr, "usage: http-serve PORT NAME\n");
		return 2;
	}
	serve(atoi(argv[1]), argv[2]);
	return 0;
}
