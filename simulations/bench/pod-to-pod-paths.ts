/** The ways from pod to pod that the benchmark compares, each with namespaces of its own (axb-…), all set up at once. */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { parseAddress, parseMac } from '../../datapath/address.ts';
import { EVENT_READ_INTERVAL_MS } from '../../datapath/events.ts';
import { createNetns, deleteNetns, ifNameToIndex, openObject, ringBuffer, withNetns } from '../../native/index.ts';
import type { LinkRow } from '../../state/tables.ts';
import { attach, attachDatapath, ip, wireNode } from '../wired-node.ts';

/** Of this run: two may go on at once. */
const prefix = `axb-${process.pid}-`;

export interface Path {
  name: string;
  client: string;
  server: { netns: string; ipv4: string; ipv6: string };
  /** The floor knows IPv4 only, as the plainest program does. */
  families: readonly ('ipv4' | 'ipv6')[];
  close(): void;
}

/** Beside the floor only for the eye: what no node does, the two pods on the ends of one veth. */
export function directVeth(): Path {
  const [client, server] = [`/run/netns/${prefix}direct-0`, `/run/netns/${prefix}direct-1`] as const;
  const close = () => {
    for (const netns of [client, server]) deleteNetns(netns);
  };
  for (const netns of [client, server]) createNetns(netns, { loopbackUp: true });
  ip(client, [`link add eth0 type veth peer name eth0 netns ${server}`]);
  [client, server].forEach((netns, index) => {
    ip(netns, [
      `address add 10.112.0.${2 + index}/24 dev eth0`,
      `address add fd00:112::${2 + index}/64 dev eth0 nodad`,
      'link set eth0 up',
    ]);
  });
  return {
    name: 'direct veth',
    client,
    server: { netns: server, ipv4: '10.112.0.3', ipv6: 'fd00:112::3' },
    families: ['ipv4', 'ipv6'],
    close,
  };
}

/** The node's stack forwards, and tracks connections because a rule asks for their state. */
export function hostRouting(): Path {
  const { node, ...path } = podsOnNode('route');
  const rules =
    'add table inet bench; add chain inet bench f { type filter hook forward priority 0; }; add rule inet bench f ct state';
  orClose(path, () => withNetns(node.netns, () => execFileSync('nft', [`${rules} established,related,new accept`])));
  return { ...path, name: 'routing + conntrack', families: ['ipv4'] };
}

/** simulations/bench/floor.bpf.c. */
export function floor(): Path {
  const { node, ...path } = podsOnNode('floor');
  const object = orClose(path, () => openObject(join(import.meta.dirname, 'build/floor.o')));
  orClose(path, () => object.load());
  const links = node.pods.flatMap((pod) => {
    const index = Buffer.alloc(4);
    index.writeUInt32LE(ifNameToIndex(pod.link, node.netns));
    object.map('pods').put(parseAddress(pod.ipv4), Buffer.concat([index, parseMac(pod.mac), parseMac(pod.hostMac)]));
    return attach(node.netns, pod.link, object.program('to_peer'), 'ingress');
  });
  const close = () => {
    for (const link of links) link.close();
    object.close();
    path.close();
  };
  return { ...path, name: 'floor', families: ['ipv4'], close };
}

/** TRACE_OFF of bpf/lib/structs.h. */
const TRACE_OFF = 4;

/** The same without traces: drops and policy verdicts are told of, and there are none. */
export const axonemeSilent = (objectPath: string): Path =>
  axoneme(objectPath, 'axoneme, no traces', { traceAggregation: TRACE_OFF });

/** The same with pods linked to the node by netkit (Linux 6.7). */
export const axonemeNetkit = (objectPath: string): Path => axoneme(objectPath, 'netkit', {}, 'netkit');

/** Our programs with the rows that the agent would write, and somebody who reads the events, as the agent does. */
export function axoneme(
  objectPath: string,
  name = 'axoneme',
  config: Parameters<typeof attachDatapath>[2] = {},
  device: LinkRow['kind'] = 'veth',
): Path {
  const { node, ...path } = podsOnNode(device === 'netkit' ? 'nk' : name === 'axoneme' ? 'axon' : 'mute', device);
  const datapath = orClose(path, () => attachDatapath(node, objectPath, config));
  const events = ringBuffer(datapath.object.map('events'), () => {});
  const reading = setInterval(() => events.drain(), EVENT_READ_INTERVAL_MS);
  const close = () => {
    clearInterval(reading);
    events.close();
    datapath.close();
    path.close();
  };
  return { ...path, name, families: ['ipv4', 'ipv6'], close };
}

/** Takes the namespaces down when what comes after them fails. */
function orClose<T>(path: { close(): void }, step: () => T): T {
  try {
    return step();
  } catch (error) {
    path.close();
    throw error;
  }
}

function podsOnNode(name: string, device: LinkRow['kind'] = 'veth') {
  const node = wireNode(`${prefix}${name}-`, 2, undefined, device);
  const [client, server] = node.pods;
  if (client === undefined || server === undefined) throw new Error('two pods were asked for');
  // The gateway's addresses are on cilium_host; its ARP answers come from the host side of the veth.
  return { node, client: client.netns, server, close: node.remove };
}
