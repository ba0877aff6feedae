/** What is left of nodes and their pods before they are kept, and that machines read no less of it. */
import { expect, test } from 'vitest';
import {
  ciliumEndpoint,
  ciliumNode,
  endpointSlice,
  kubeNode,
  NodesWorld,
  wireguardKeyOf,
} from '../simulations/cluster-nodes.ts';
import { canonical, type TableName } from '../state/tables.ts';
import { type KubeObject, topicsOf } from './events.ts';
import { slimCiliumEndpoint, slimCiliumEndpointSlice, slimCiliumNode, slimNode } from './slim-nodes.ts';

/** As an API server has it, with all that nobody reads. */
function full(object: KubeObject): KubeObject {
  const noise = { images: [{ names: ['registry/image'] }], conditions: [{ type: 'Ready' }], controllers: [] };
  return {
    ...object,
    metadata: {
      ...object.metadata,
      resourceVersion: '7',
      labels: { zone: 'a' },
      annotations: { ...object.metadata.annotations, note: 'x' },
    },
    ...(object.spec !== undefined && { spec: { ...(object.spec as object), taints: [], eni: {} } }),
    status: { ...(object.status as object | undefined), ...noise },
  };
}

const objects: [string, KubeObject, (object: KubeObject) => KubeObject][] = [
  ['nodes', kubeNode(4), slimNode],
  [
    'ciliumnodes',
    ciliumNode(2, { wireguardKey: wireguardKeyOf(2), health: { ipv4: '10.0.2.1' }, keyId: 3 }),
    slimCiliumNode,
  ],
  ['ciliumnodes', ciliumNode(3), slimCiliumNode],
  ['ciliumendpoints', ciliumEndpoint(2, 9, 300), slimCiliumEndpoint],
  ['ciliumendpoints', ciliumEndpoint(3, 9, undefined), slimCiliumEndpoint],
  ['ciliumendpointslices', endpointSlice('ces-a', [{ node: 3, pod: 11, identity: 301 }]), slimCiliumEndpointSlice],
];

const tables: readonly TableName[] = ['bpf.ipcache', 'routes', 'wireguard.peers', 'health.probes'];

function rowsOf(all: readonly (readonly [string, KubeObject])[]): string[] {
  const world = new NodesWorld().among({
    routing: { mode: 'vxlan' },
    encryption: { type: 'wireguard' },
    health: { enabled: true },
  });
  world.say({ type: 'wireguard.keyed', publicKey: wireguardKeyOf(1) });
  for (const [resource, object] of all) world.upsert(resource, object);
  return tables.flatMap((table) => Object.entries(world.rows(table)).map((row) => `${table} ${canonical(row)}`));
}

test('rows are those of the whole objects', () => {
  const whole = rowsOf(objects.map(([resource, object]) => [resource, full(object)] as const));
  const slim = rowsOf(objects.map(([resource, object, slimmed]) => [resource, slimmed(full(object))] as const));
  expect(slim).toEqual(whole);
  expect(slim.length).toBeGreaterThan(20);
});

test.each(objects)('%s: the watch’s own fields stay, the rest goes', (resource, object, slimmed) => {
  const [before, after] = [full(object), slimmed(full(object))];
  const { name, uid, resourceVersion } = before.metadata;
  expect(after.metadata).toMatchObject({ name, uid, resourceVersion });
  expect(JSON.stringify(after)).not.toMatch(/images|conditions|controllers|taints|eni|note/);
  const topics = (one: KubeObject) => topicsOf({ type: 'kube.upserted', resource, object: one });
  expect(topics(after)).toEqual(topics(before));
});

test('nonsense stays nonsense, and breaks nothing', () => {
  for (const spec of [undefined, null, 7, 'x', []])
    for (const slimmed of [slimNode, slimCiliumNode, slimCiliumEndpoint, slimCiliumEndpointSlice]) {
      const object = { apiVersion: 'v1', kind: 'X', metadata: { name: 'n' }, spec, status: spec, endpoints: spec };
      expect(slimmed(object).metadata.name).toBe('n');
    }
});
