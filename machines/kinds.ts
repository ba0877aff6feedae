/** All kinds of machines, in the order in which they are born of one event. */
import { device } from './device.ts';
import { endpoint } from './endpoint.ts';
import { hostPort } from './host-port.ts';
import { identity } from './identity.ts';
import { ipPool } from './ip-pool.ts';
import type { Kind } from './machine.ts';
import { node } from './node.ts';
import { policy } from './policy.ts';
import { service } from './service.ts';
import { serviceNode } from './service-node.ts';

export const kinds: readonly Kind[] = [
  ipPool,
  node,
  device,
  identity,
  endpoint,
  serviceNode,
  service,
  hostPort,
  policy,
];
