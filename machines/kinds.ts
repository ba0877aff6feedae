/** All kinds of machines, in the order in which they are born of one event. */
import { apiServer } from './api-server.ts';
import { device } from './device.ts';
import { endpoint } from './endpoint.ts';
import { hostPort } from './host-port.ts';
import { identity } from './identity.ts';
import { ipPool } from './ip-pool.ts';
import { ipsec } from './ipsec.ts';
import { ipsecPeer } from './ipsec-peer.ts';
import type { Kind } from './machine.ts';
import { node } from './node.ts';
import { nodeDirectory } from './node-directory.ts';
import { policy } from './policy.ts';
import { remoteNode } from './remote-node.ts';
import { service } from './service.ts';
import { serviceNode } from './service-node.ts';
import { tunnel } from './tunnel.ts';
import { wireguard } from './wireguard.ts';
import { wireguardPeer } from './wireguard-peer.ts';

export const kinds: readonly Kind[] = [
  ipPool,
  node,
  device,
  identity,
  endpoint,
  serviceNode,
  service,
  hostPort,
  apiServer,
  policy,
  nodeDirectory,
  tunnel,
  wireguard,
  ipsec,
  remoteNode,
  wireguardPeer,
  ipsecPeer,
];
