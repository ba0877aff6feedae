/** Where the API server is, as rows and as others hear of it. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import type { AgentFacts, KubeObject } from '../cluster/events.ts';
import { type ApiServerFact, apiServer, apiServerKey } from './api-server.ts';
import type { Message } from './machine.ts';
import { initialTransition, transition } from './transition.ts';

const slice = (name: string, ...addresses: string[]): KubeObject => ({
  apiVersion: 'discovery.k8s.io/v1',
  kind: 'EndpointSlice',
  metadata: { name, namespace: 'default', labels: { 'kubernetes.io/service-name': 'kubernetes' } },
  addressType: addresses[0]?.includes(':') ? 'IPv6' : 'IPv4',
  endpoints: addresses.map((address) => ({ addresses: [address], conditions: { ready: true } })),
  ports: [{ name: 'https', port: 6443, protocol: 'TCP' }],
});
const node = (name: string, ...addresses: string[]): KubeObject => ({
  apiVersion: 'v1',
  kind: 'Node',
  metadata: { name },
  status: { addresses: addresses.map((address) => ({ type: 'InternalIP', address })) },
});
const put = (resource: string, object: KubeObject): Message => ({ type: 'kube.upserted', at: 1, resource, object });
const gone = (resource: string, object: KubeObject): Message => ({ type: 'kube.deleted', at: 1, resource, object });

function after(...messages: Message[]) {
  const facts = { nodeName: 'node-1', policy: {} } as unknown as AgentFacts;
  const [birth] = apiServer.births?.['agent.started']?.({ type: 'agent.started', config: facts }, 1) ?? [];
  expect(birth?.key).toBe(apiServerKey);
  const [first] = initialTransition(apiServer.logic, birth?.input);
  return messages.reduce((snapshot, message) => transition(apiServer.logic, snapshot, message)[0], first);
}
const factOf = (...messages: Message[]): ApiServerFact =>
  apiServer.facts?.(after(...messages))[0]?.value as ApiServerFact;
const keysOf = (...messages: Message[]): string[] => apiServer.rows(after(...messages)).map(({ key }) => key);

it('on no node it has an identity of its own, in each family', () => {
  const messages = [
    put('endpointslices', slice('kubernetes', '192.0.2.1')),
    put('endpointslices', slice('six', 'fd00::1')),
  ];
  expect(keysOf(...messages)).toEqual(['192.0.2.1/32', 'fd00::1/128']);
  const identities = factOf(...messages).outside.map(({ identity }) => identity);
  expect(new Set(identities).size).toBe(2);
  for (const identity of identities) expect(identity >>> 24).toBe(1);
});

it('on a node it has no row, and says on which addresses it is; a node that comes later takes it over', () => {
  const where = put('endpointslices', slice('kubernetes', '192.0.2.1', '192.0.2.2', '192.0.2.3'));
  const here = put('nodes', node('node-1', '192.0.2.1'));
  const there = put('nodes', node('node-2', '192.0.2.2', 'fd00::2'));
  expect(factOf(where, here, there)).toMatchObject({ nodes: ['192.0.2.2'], isHere: true });
  expect(keysOf(where, here, there)).toEqual(['192.0.2.3/32']);
  expect(keysOf(here, there, where, gone('nodes', node('node-2')))).toEqual(['192.0.2.2/32', '192.0.2.3/32']);
  expect(factOf(where, here, gone('endpointslices', slice('kubernetes')))).toEqual({
    outside: [],
    nodes: [],
    isHere: false,
  });
});

it('an address has the same number whatever others come and go, as long as they do not meet', () => {
  const octet = fc.integer({ min: 1, max: 250 });
  fc.assert(
    fc.property(fc.uniqueArray(octet, { minLength: 1, maxLength: 20 }), (octets) => {
      const addresses = octets.map((one) => `192.0.2.${one}`);
      const all = factOf(put('endpointslices', slice('kubernetes', ...addresses))).outside;
      const identities = new Set(all.map(({ identity }) => identity));
      expect(identities.size).toBe(addresses.length);
      const again = factOf(put('endpointslices', slice('kubernetes', ...addresses.toReversed()))).outside;
      expect(again).toEqual(all);
    }),
  );
});

it('what is no address is nobody', () => {
  expect(factOf(put('endpointslices', slice('kubernetes', 'nonsense', '999.0.0.1')))).toMatchObject({ outside: [] });
});
