/** Questions to several nodes: each end is judged where it is, and what is asked about may be recorded flows. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import type { KubeObject } from '../../cluster/events.ts';
import type { PolicyWorld } from '../../observe/policy.ts';
import type { Subject } from '../../policy/change.ts';
import { parsePolicy } from '../../policy/parse.ts';
import type { Policy } from '../../policy/rule.ts';
import type { DebugClient } from '../output/debug-client.ts';
import { ClusterWorld } from './cluster-world.ts';
import { readRecordedFlows } from './recorded-flows.ts';

const dir = mkdtempSync(join(tmpdir(), `axt-${process.pid}-worlds-`));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const HOST = 65_536;
const identities = { frontend: 1001, backend: 1002, stranger: 1003 } as const;
type App = keyof typeof identities;
const labelsOf = (app: App) => ({
  'k8s:app': app,
  'k8s:io.cilium.k8s.policy.cluster': 'default',
  'k8s:io.kubernetes.pod.namespace': 'shop',
});
const addressOf = (app: App): string => `10.0.0.${identities[app] - 1000}`;

const policyOf = (name: string, spec: object): Policy => {
  const metadata = { namespace: 'shop', name };
  const object = { apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy', metadata, spec };
  const { policy, problems } = parsePolicy(object as KubeObject);
  if (!policy) throw new Error(JSON.stringify(problems));
  return policy;
};
const selected = (app: App): object => ({ endpointSelector: { matchLabels: { app } } });
const closed = policyOf('closed', {
  ...selected('backend'),
  ingress: [{ fromEndpoints: [{ matchLabels: { app: 'frontend' } }] }],
});

/** What a node says that has these pods; it knows the others by their addresses. */
function nodeWith(...apps: App[]): PolicyWorld {
  const all = Object.keys(identities) as App[];
  const subjects = apps.map(
    (app, i): Subject => ({
      ...{ endpointId: i + 1, identity: identities[app], labels: labelsOf(app), namedPorts: [], host: false },
    }),
  );
  return {
    inputs: {
      config: { enforcement: 'default', allowLocalhost: true, audit: false, clusterName: 'default' },
      policies: [closed],
      identities: all.map((app) => ({ identity: identities[app], labels: labelsOf(app) })),
      subjects,
      groups: [],
      services: [],
    },
    pods: subjects.map(({ endpointId, identity }, i) => {
      const app = apps[i] as App;
      return { endpointId, identity, pod: `shop/${app}`, addresses: [addressOf(app)] };
    }),
    hostEndpoint: HOST,
    audited: [],
    ipcache: all.map((app) => ({ cidr: `${addressOf(app)}/32`, identity: identities[app] })),
  };
}
const clientOf = (facts: PolicyWorld) => ({ get: async () => facts }) as unknown as DebugClient;
const cluster = (): Promise<ClusterWorld> =>
  ClusterWorld.of([
    { node: 'one', client: clientOf(nodeWith('frontend', 'stranger')) },
    { node: 'two', client: clientOf(nodeWith('backend')) },
  ]);

describe('a cluster of two nodes', () => {
  test('an end is judged by its own node, also where it is asked about by its address', async () => {
    const world = await cluster();
    const backend = world.end('dst', 'shop/backend');
    const judge = (from: string) => world.judge(world.end('src', from), backend, 'TCP', 80).isAllowed;
    expect([judge('shop/frontend'), judge('shop/stranger'), judge(addressOf('frontend'))]).toEqual([true, false, true]);
    expect(
      world.judge(world.end('src', 'shop/stranger'), world.address(addressOf('backend')), 'TCP', 80),
    ).toMatchObject({
      isAllowed: false,
      egress: { enforced: false },
      ingress: { enforced: true, verdict: 'denied' },
    });
    expect(world.shown(backend)).toMatchObject({ node: 'two', identity: identities.backend });
    expect(world.judge(backend, backend, 'TCP', 80)).toMatchObject({ egress: undefined, ingress: undefined });
  });

  test('another policy changes both ends, and only what it selects is touched', async () => {
    const world = await cluster();
    const lonely = policyOf('lonely', { ...selected('frontend'), egress: [{ toCIDR: ['198.51.100.0/24'] }] });
    const after = world.with([{ type: 'policy.upserted', policy: lonely }]);
    const [frontend, backend] = [after.end('src', 'shop/frontend'), after.end('dst', 'shop/backend')];
    expect(after.judge(frontend, backend, 'TCP', 80)).toMatchObject({
      isAllowed: false,
      egress: { verdict: 'denied' },
    });
    expect(after.judge(frontend, after.address('198.51.100.7'), 'TCP', 80).isAllowed).toBe(true);
    expect([after.isTouched(frontend), after.isTouched(backend)]).toEqual([true, false]);
    expect(world.judge(frontend, backend, 'TCP', 80).isAllowed).toBe(true);
  });

  test('an endpoint whose denials are only logged lets pass, and it is said', async () => {
    const world = await ClusterWorld.of([
      { node: 'one', client: clientOf(nodeWith('stranger')) },
      { node: 'two', client: clientOf({ ...nodeWith('backend'), audited: [1] }) },
    ]);
    const [stranger, backend] = [world.end('src', 'shop/stranger'), world.end('dst', 'shop/backend')];
    expect(world.judge(stranger, backend, 'TCP', 80)).toMatchObject({
      isAllowed: true,
      ingress: { verdict: 'allowed', audited: true, enforced: true },
    });
  });

  test('a pod that is nowhere is refused, with what there is', async () => {
    const world = await cluster();
    expect(() => world.end('dst', 'shop/backent')).toThrow(
      'no node has a pod shop/backent, did you mean shop/backend? there are shop/backend, shop/frontend, shop/stranger',
    );
  });
});

describe('recorded flows', () => {
  const flow = (from: string, to: string, more: object = {}): string =>
    JSON.stringify({
      flow: {
        IP: { source: from, destination: to },
        l4: { TCP: { source_port: 40_000, destination_port: 80 } },
        is_reply: false,
        ...more,
      },
      node_name: 'one',
    });

  test('of observe -o json: what began each, once, and pods by name', async () => {
    const path = join(dir, 'observed.json');
    const gone = { source: { namespace: 'shop', pod_name: 'gone' } };
    const lines = [
      flow('10.0.0.1', '10.0.0.2'),
      flow('10.0.0.1', '10.0.0.2'),
      flow('10.0.0.2', '10.0.0.1', { is_reply: true }),
      flow('10.9.9.9', '10.0.0.2', gone),
      flow('10.0.0.3', '10.0.0.2', { l4: { ICMPv4: { type: 8 } } }),
      '{"lost_events":{"num_events_lost":"3"}}',
    ];
    writeFileSync(path, `${lines.join('\n')}\n`);
    const found = readRecordedFlows(path, await cluster());
    expect(found.map(({ from, to, protocol, port }) => `${from.name} ${to.name} ${port}/${protocol}`)).toEqual([
      'shop/frontend shop/backend 80/TCP',
      '10.9.9.9 shop/backend 80/TCP',
      'shop/stranger shop/backend 8/ICMP',
    ]);
  });

  test('as for verdict; a flow whose pod is nowhere is named', async () => {
    const path = join(dir, 'asked.json');
    const asked = [{ id: 'x', from: { pod: 'shop/frontend' }, to: { pod: 'shop/ghost' }, port: 80 }];
    writeFileSync(path, JSON.stringify(asked));
    const world = await cluster();
    expect(() => readRecordedFlows(path, world)).toThrow('flow x: no node has a pod shop/ghost');
    writeFileSync(path, JSON.stringify([{ ...asked[0], to: { ip: '10.0.0.2' } }]));
    expect(readRecordedFlows(path, world).map(({ to }) => to.name)).toEqual(['shop/backend']);
  });

  test('a line that is no JSON is named', async () => {
    const path = join(dir, 'broken.json');
    writeFileSync(path, `${flow('10.0.0.1', '10.0.0.2')}\n{"flow":`);
    const world = await cluster();
    expect(() => readRecordedFlows(path, world)).toThrow(/broken\.json: line 2: .*expected a flow of observe -o json/);
  });
});
