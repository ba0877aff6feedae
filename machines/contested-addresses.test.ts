/** Rules that name the addresses of other nodes and their pods as CIDRs: what the cluster says of an address counts. */
import { expect, test } from 'vitest';
import { ciliumEndpoint, ciliumNode } from '../simulations/cluster-nodes.ts';
import { PolicyWorld } from '../simulations/policy-world.ts';

test('a CIDR of a rule takes neither pods nor nodes nor pod ranges of other nodes, and has what nobody else has', () => {
  const world = new PolicyWorld().start().node().synced();
  for (const source of ['kube/ciliumnodes', 'kube/ciliumendpoints', 'kube/ciliumendpointslices'] as const)
    world.say({ type: 'source.synced', source });
  world.namespace('demo');
  world.pod('demo/web', { app: 'web' });
  const cidrs = ['10.0.2.9/32', '192.0.2.2/32', '10.0.2.0/24', '198.51.100.0/24'];
  const identities = () => cidrs.map((cidr) => world.rows('bpf.ipcache')[cidr]?.identity ?? 0);
  world.cnp('demo/far', {
    endpointSelector: { matchLabels: { app: 'web' } },
    egress: [{ toCIDR: cidrs }],
  });
  const byRules = identities();
  expect(byRules.every((identity) => identity >>> 24 === 1)).toBe(true);
  world.upsert('ciliumnodes', ciliumNode(2));
  const pod = ciliumEndpoint(2, 9, 300);
  world.upsert('ciliumendpoints', pod);
  expect(identities()).toEqual([300, 6, byRules[2], byRules[3]]);
  world.delete('ciliumendpoints', pod);
  expect(identities()).toEqual([byRules[0], 6, byRules[2], byRules[3]]);
});
