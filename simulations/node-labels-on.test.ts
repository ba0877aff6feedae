/** Nodes that policies come to tell by labels, or no longer, from one life of the agent to the next: at every op what is allowed passes. */
import { expect, it } from 'vitest';
import { tables } from '../state/tables.ts';
import { ModelTables } from './packet-model.ts';
import { rowsOf, take } from './policy-actions.ts';
import { PolicyWorld } from './policy-world.ts';
import { checkPrefixes, type Flow, fateOf } from './prefix-check.ts';

const addresses = { 'node-2': '192.0.2.2', 'node-3': '192.0.2.3' } as const;
const others = Object.keys(addresses) as (keyof typeof addresses)[];
const fromNodes = {
  kind: 'policy',
  name: 'p',
  spec: { endpointSelector: {}, ingress: [{ fromEntities: ['remote-node'] }] },
} as const;

/** Other nodes come before everything else, as fast as the API server lists them. */
function withNodes(world: PolicyWorld): PolicyWorld {
  world.node();
  for (const source of ['kube/ciliumnodes', 'kube/ciliumendpoints', 'kube/ciliumendpointslices'] as const)
    world.say({ type: 'source.synced', source });
  others.forEach((name, i) => {
    const [podCIDR, address] = [`10.0.${i + 1}.0/24`, addresses[name]];
    world.upsert('nodes', {
      ...{ apiVersion: 'v1', kind: 'Node', metadata: { name, labels: { role: name } } },
      spec: { podCIDRs: [podCIDR] },
      status: { addresses: [{ type: 'InternalIP', address }] },
    });
  });
  return world;
}

const flowsOf = (world: PolicyWorld): Flow[] =>
  Object.keys(world.rows('bpf.endpoints'))
    .filter((to) => !to.includes(':'))
    .flatMap((to) =>
      others.map((name) => ({
        place: { program: 'from_netdev', link: 'eth0' },
        packet: { from: addresses[name], to, proto: 6, sport: 4000, dport: 80, ttl: 64, tcpFlags: 2 },
      })),
    );

it.each([
  ['on', false, true],
  ['off', true, false],
  ['on and stays on', true, true],
])('labels of nodes are turned %s while no agent is there', (_, before, after) => {
  const made = withNodes(new PolicyWorld().start({ nodeSelectorLabels: before }).restored([]))
    .synced()
    .namespace('shop');
  made.pod('shop/a', { app: 'a' });
  take(made, fromNodes);
  const identityOf = (world: PolicyWorld) => world.rows('bpf.ipcache')['192.0.2.2/32']?.identity;
  expect(identityOf(made) === 6).toBe(!before);
  const [rows, flows] = [rowsOf(made), flowsOf(made)];
  const held = new ModelTables(rows);
  expect(flows.map((flow) => fateOf(held, flow).passes)).toEqual([true, true]);
  const next = withNodes(PolicyWorld.after(made, { nodeSelectorLabels: after }));
  take(next, fromNodes);
  next.namespace('shop').synced();
  expect(next.engine.machine('policy')?.state).toBe('steady');
  expect(identityOf(next) === 6).toBe(!after);
  const steps = next.history.filter(({ table }) => tables[table].lane === 'kernel');
  expect(checkPrefixes(rows, steps, flows)).toEqual([]);
});
