// SPDX-License-Identifier: Apache-2.0
/*
 * Ends of SCTP for kernels without it: packets with one chunk over raw sockets, which take a checksum (RFC 9260, 6.8) for good or for
 * nothing at all, as a stack does.
 *
 *   sctp-ends serve PORT NAME [LOCAL]         answers each INIT for PORT with an INIT ACK that bears NAME, from LOCAL alone if it is given
 *   sctp-ends ask LOCAL ADDRESS PORT FROM     sends an INIT from LOCAL (`-`: any) and port FROM; prints the NAME that ADDRESS and PORT
 *                                             answered. Exit code 1: nobody did in a second; whoever else answered is told of.
 */
#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define INIT 1
#define INIT_ACK 2
#define NAME_MAX_BYTES 32
#define AGAIN_MS 250
#define PATIENCE_MS 1000

struct packet {
	uint16_t source, dest;
	uint32_t tag, checksum;
	uint8_t chunk, flags;
	uint16_t chunk_size;
	char name[NAME_MAX_BYTES];
};

static void die(const char *what)
{
	fprintf(stderr, "sctp-ends: %s: %s\n", what, strerror(errno));
	exit(2);
}

static uint32_t crc32c(const uint8_t *bytes, size_t size)
{
	uint32_t crc = ~0u;

	while (size--) {
		crc ^= *bytes++;
		for (int bit = 0; bit < 8; bit++)
			crc = (crc >> 1) ^ (crc & 1 ? 0x82f63b78 : 0);
	}
	return ~crc;
}

static uint32_t checksum_of(struct packet packet)
{
	packet.checksum = 0;
	return htole32(crc32c((void *)&packet, sizeof(packet)));
}

static struct sockaddr_storage address_of(const char *text)
{
	struct sockaddr_storage address = {};
	struct sockaddr_in6 *six = (void *)&address;
	struct sockaddr_in *four = (void *)&address;
	int family = strchr(text, ':') ? AF_INET6 : AF_INET;

	address.ss_family = family;
	if (inet_pton(family, text, family == AF_INET6 ? (void *)&six->sin6_addr : (void *)&four->sin_addr) != 1) {
		errno = EINVAL;
		die(text);
	}
	return address;
}

/* Bound to `local`, if it is of this family. */
static int raw_socket(int family, const char *local)
{
	int fd = socket(family, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_SCTP);

	if (fd < 0)
		die("socket");
	if (strcmp(local, "-")) {
		struct sockaddr_storage mine = address_of(local);

		if (mine.ss_family == family && bind(fd, (void *)&mine, sizeof(mine)) < 0)
			die(local);
	}
	return fd;
}

static void send_chunk(int fd, const struct sockaddr_storage *to, uint16_t source, uint16_t dest, uint8_t chunk, const char *name)
{
	struct sockaddr_storage plain = *to;
	struct packet packet = { .source = source, .dest = dest, .chunk = chunk, .chunk_size = htons(4 + NAME_MAX_BYTES) };

	snprintf(packet.name, sizeof(packet.name), "%s", name);
	packet.checksum = checksum_of(packet);
	/* A raw socket takes no port, and over IPv6 refuses one. */
	if (plain.ss_family == AF_INET6)
		((struct sockaddr_in6 *)&plain)->sin6_port = 0;
	if (sendto(fd, &packet, sizeof(packet), 0, (void *)&plain,
		   plain.ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in)) < 0)
		die("sendto");
}

/* 1: a whole packet with its right checksum. */
static int take(int fd, int family, struct sockaddr_storage *from, struct packet *packet)
{
	uint8_t bytes[2048];
	socklen_t size = sizeof(*from);
	ssize_t got = recvfrom(fd, bytes, sizeof(bytes), 0, (void *)from, &size);
	/* Over IPv4 with its header. */
	size_t header = family == AF_INET ? (bytes[0] & 15) * 4 : 0;

	if (got < 0 || (size_t)got != header + sizeof(*packet))
		return 0;
	memcpy(packet, bytes + header, sizeof(*packet));
	packet->name[NAME_MAX_BYTES - 1] = 0;
	return packet->checksum == checksum_of(*packet);
}

static void serve(uint16_t port, const char *name, const char *local)
{
	struct pollfd ends[2] = {
		{ .fd = raw_socket(AF_INET, local), .events = POLLIN },
		{ .fd = raw_socket(AF_INET6, local), .events = POLLIN },
	};

	for (;;) {
		if (poll(ends, 2, -1) < 0)
			die("poll");
		for (int i = 0; i < 2; i++) {
			struct sockaddr_storage from = {};
			struct packet packet;

			if (!(ends[i].revents & POLLIN) || !take(ends[i].fd, i ? AF_INET6 : AF_INET, &from, &packet))
				continue;
			if (packet.dest == port && packet.chunk == INIT)
				send_chunk(ends[i].fd, &from, packet.dest, packet.source, INIT_ACK, name);
		}
	}
}

static int is_same(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
	if (a->ss_family == AF_INET6)
		return !memcmp(&((struct sockaddr_in6 *)a)->sin6_addr, &((struct sockaddr_in6 *)b)->sin6_addr, 16);
	return ((struct sockaddr_in *)a)->sin_addr.s_addr == ((struct sockaddr_in *)b)->sin_addr.s_addr;
}

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int ask(const char *local, const char *address, uint16_t port, uint16_t own)
{
	struct sockaddr_storage to = address_of(address), from = {};
	int64_t end = now_ms() + PATIENCE_MS, next = 0;
	struct pollfd answer = { .fd = raw_socket(to.ss_family, local), .events = POLLIN };
	struct packet packet;

	for (int64_t now = now_ms(); now < end; now = now_ms()) {
		char text[INET6_ADDRSTRLEN];

		if (now >= next) {
			send_chunk(answer.fd, &to, own, port, INIT, "");
			next = now + AGAIN_MS;
		}
		if (poll(&answer, 1, next - now) <= 0 || !take(answer.fd, to.ss_family, &from, &packet))
			continue;
		if (packet.chunk != INIT_ACK || packet.dest != own)
			continue;
		if (is_same(&from, &to) && packet.source == port) {
			puts(packet.name);
			return 0;
		}
		inet_ntop(from.ss_family, from.ss_family == AF_INET6 ? (void *)&((struct sockaddr_in6 *)&from)->sin6_addr
									: (void *)&((struct sockaddr_in *)&from)->sin_addr, text, sizeof(text));
		fprintf(stderr, "sctp-ends: %s port %d answered\n", text, ntohs(packet.source));
	}
	return 1;
}

int main(int argc, char **argv)
{
	if ((argc == 4 || argc == 5) && !strcmp(argv[1], "serve"))
		serve(htons(atoi(argv[2])), argv[3], argc == 5 ? argv[4] : "-");
	if (argc == 6 && !strcmp(argv[1], "ask"))
		return ask(argv[2], argv[3], htons(atoi(argv[4])), htons(atoi(argv[5])));
	fputs("sctp-ends serve PORT NAME [LOCAL] | ask LOCAL ADDRESS PORT FROM\n", stderr);
	return 2;
}
