/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Layouts of what is known of addresses beyond this node's pods, of other nodes, and of the devices that lead there. Included by structs.h,
 * whose rules hold here.
 */
#pragma once

/* ---- ipcache: address prefix -> identity ---- */

struct ipcache_key {
	__u32 prefixlen; /* host order, 0..128 */
	struct addr addr;
};

/*
 * Writer: agent (bpf.ipcache rows). Readers: all programs. Holds the node's own addresses (identity 1) too.
 * Full: the agent's put fails with ENOSPC, peers of that prefix are `world`. Absent: world.
 */
struct ipcache_entry {
	__u32 identity;
	struct addr tunnel_endpoint; /* node that has the address: with config.tunnel encapsulated to it, with IPsec its number is in the mark; :: none */
	__u8 encrypt_key;            /* 0: in clear; WireGuard: 255; IPsec: number of the key, 1..15 */
	__u8 flags;                  /* reserved */
	__u16 pad;
};

/* ---- netdevs: device to other nodes -> what masquerading needs ---- */

/*
 * Key: ifindex, of native devices, and of the tunnel's and WireGuard's. Addresses are what packets get that leave by the device and must
 * come back to this node: a native device's own; of cilium_vxlan and cilium_geneve those of cilium_host (other nodes reach them by tunnel),
 * of cilium_wg0 the node's. Writer: agent (bpf.netdevs rows). Readers: from_netdev, to_netdev, from_overlay, from_wireguard.
 * Full: the agent's put fails with E2BIG. Absent: a native device's packets pass untouched; services have no backends behind a tunnel.
 */
struct netdev {
	struct addr ipv4; /* :: none */
	struct addr ipv6;
	__u8 mac[6];
	__u16 pad;
	__u32 flags; /* enum netdev_flags */
};

enum netdev_flags {
	NETDEV_XDP = 1 << 0, /* the XDP program is there too: what XDP redirects to the device is sure to go out */
};

/* ---- devices: links that packets are handed to by name ---- */

enum device_role {
	DEVICE_OVERLAY = 1,   /* cilium_vxlan or cilium_geneve */
	DEVICE_WIREGUARD = 2, /* cilium_wg0 */
};

/*
 * Key: enum device_role. Writer: agent (bpf.devices rows), once the link is there. Readers: programs with config.tunnel or .encryption.
 * Cannot fill up. Absent: what must go there is dropped (160 the tunnel's, 195 WireGuard's), never sent in clear.
 */
struct device {
	__u32 ifindex;
	__u32 mtu; /* largest packet, with its own network header, that fits once wrapped; longer ones are the stack's. 0: any */
};

/* ---- nodes: address of another node -> its number here ---- */

/* Writer: agent (bpf.nodes rows). Readers: IPsec's marks. Full: the agent's put fails with E2BIG. Absent: dropped (197). */
struct node {
	__u16 node_id;
	__u8 encrypt_key; /* as in ipcache_entry */
	__u8 pad;
};
