// SPDX-License-Identifier: Apache-2.0
/*
 * Makes one end of a veth send as a card on a wire does: with checksums. A veth leaves them to a device that never comes, and a receiver
 * does not look at them then.
 *
 *   as-on-a-wire NETNS DEVICE...
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

static int sum_in_software(int fd, const char *device)
{
	struct ethtool_value argument = { .cmd = ETHTOOL_STXCSUM, .data = 0 };
	struct ifreq request = { .ifr_data = (char *)&argument };

	strncpy(request.ifr_name, device, IFNAMSIZ - 1);
	if (ioctl(fd, SIOCETHTOOL, &request) == 0)
		return 0;
	fprintf(stderr, "as-on-a-wire: %s: %s\n", device, strerror(errno));
	return 1;
}

int main(int argc, char **argv)
{
	int netns = argc > 2 ? open(argv[1], O_RDONLY | O_CLOEXEC) : -1, fd, failed = 0;

	if (netns < 0 || setns(netns, CLONE_NEWNET) < 0) {
		fprintf(stderr, "as-on-a-wire: %s\nusage: as-on-a-wire NETNS DEVICE...\n", strerror(errno));
		return 2;
	}
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	for (int i = 2; i < argc; i++)
		failed |= sum_in_software(fd, argv[i]);
	return failed;
}
