/** Other nodes come, move and go: who asks hears of each, whenever it asks. */
import { Subject } from 'rxjs';
import { expect, it } from 'vitest';
import type { ClusterEvent, KubeObject } from '../../cluster/events.ts';
import { kinds } from '../../machines/kinds.ts';
import { Engine } from '../../reconcilers/engine.ts';
import { peersOf } from './peers.ts';
import type { PeerChange } from './source.ts';

const options = { clusterName: 'axt', nodeName: 'node-1', listen: ':4244', isTls: true };
const engine = new Engine(kinds, { rows: () => [], write: () => {} });
let seq = 0;
const take = (event: ClusterEvent): unknown => engine.step({ seq: ++seq, at: seq, source: 'kube', event });

const node = (name: string, ip: string): KubeObject => ({
  apiVersion: 'cilium.io/v2',
  kind: 'CiliumNode',
  metadata: { name, uid: `uid-${name}` },
  spec: { addresses: [{ type: 'InternalIP', ip }], ipam: { podCIDRs: [] } },
});
const rescan$ = new Subject<void>();
const put = (name: string, ip: string): void => {
  take({ type: 'kube.upserted', resource: 'ciliumnodes', object: node(name, ip) });
  rescan$.next();
};

const short = ({ type, name, address, tls }: PeerChange): string => `${type} ${name} ${address} ${tls?.server_name}`;

it('tells of nodes that are known, that come, that move, and that go', () => {
  put('node-2', '192.0.2.2');
  const heard: string[] = [];
  const subscription = peersOf(engine, options, rescan$).subscribe((change) => heard.push(short(change)));
  put('node.3', '2001:db8::3');
  put('node-2', '192.0.2.22');
  put('node-2', '192.0.2.22');
  take({ type: 'kube.deleted', resource: 'ciliumnodes', object: node('node-2', '192.0.2.22') });
  subscription.unsubscribe();
  put('node-4', '192.0.2.4');
  expect(heard).toEqual([
    'PEER_ADDED axt/node-2 192.0.2.2:4244 node-2.axt.hubble-grpc.cilium.io',
    'PEER_ADDED axt/node.3 [2001:db8::3]:4244 node-3.axt.hubble-grpc.cilium.io',
    'PEER_UPDATED axt/node-2 192.0.2.22:4244 node-2.axt.hubble-grpc.cilium.io',
    'PEER_DELETED axt/node-2 192.0.2.22:4244 node-2.axt.hubble-grpc.cilium.io',
  ]);
  const later: string[] = [];
  peersOf(engine, options, rescan$).subscribe((change) => later.push(short(change)));
  expect(later.map((line) => line.split(' ')[1])).toEqual(['axt/node-4', 'axt/node.3']);
});

it('announces nobody where nodes serve on no port, and never the node itself', () => {
  const heard: PeerChange[] = [];
  peersOf(engine, { ...options, listen: '' }).subscribe((change) => heard.push(change));
  peersOf(engine, { ...options, nodeName: 'node-4' }).subscribe((change) => heard.push(change));
  expect(heard.map(({ name }) => name)).toEqual(['axt/node.3']);
});
