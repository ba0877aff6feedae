/** Ends of a flow in the page's table: by the best name that there is. */
import { expect, it } from 'vitest';
import type { Flow, FlowEndpoint } from '../hubble/types.ts';
import { rowOf } from './page/flow-list.ts';

const nobody: FlowEndpoint = { ID: 0, identity: 0, cluster_name: '', namespace: '', pod_name: '', labels: [] };
const nameOf = (end: Partial<FlowEndpoint>, destination_service?: Flow['destination_service']): string =>
  rowOf({
    time: { seconds: 1, nanos: 0 },
    uuid: '',
    emitter: { name: 'Hubble', version: '' },
    verdict: 'FORWARDED',
    IP: { source: '10.0.0.5', destination: '172.28.2.1', ipVersion: 'IPv4' },
    l4: { TCP: { source_port: 1, destination_port: 2, flags: {} } },
    source: nobody,
    destination: { ...nobody, ...end },
    ...(destination_service && { destination_service }),
    Type: 'L3_L4',
    node_name: 'n',
    event_type: { type: 4, sub_type: 0 },
    traffic_direction: 'EGRESS',
    Summary: '',
  }).to.name;

it.each<[string, Partial<FlowEndpoint>, Flow['destination_service'] | undefined, string]>([
  ['a pod', { namespace: 'shop', pod_name: 'web-0' }, { namespace: 'shop', name: 'web' }, 'shop/web-0'],
  ['a service', {}, { namespace: 'shop', name: 'web' }, 'shop/web'],
  ['the API server', { labels: ['cidr:172.28.2.1/32', 'reserved:kube-apiserver'] }, undefined, 'kube-apiserver'],
  ['a range', { labels: ['cidr:172.28.0.0/16', 'reserved:world-ipv4'] }, undefined, '172.28.0.0/16'],
  ['a range of one address', { labels: ['cidr:172.28.2.1/32'] }, undefined, '172.28.2.1'],
  ['the world', { labels: ['reserved:world-ipv4'] }, undefined, 'world'],
  ['an address of which nothing is known', {}, undefined, '172.28.2.1'],
])('%s', (_, end, service, name) => expect(nameOf(end, service)).toBe(name));
