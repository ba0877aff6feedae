/** Host ports of this node's pods: where they are, where they lead, and who has one that two ask for. */
import { describe, expect, test } from 'vitest';
import type { KubeObject } from '../cluster/events.ts';
import { kubeObject, ServiceWorld } from '../simulations/services.ts';

const pod = (
  name: string,
  ports: object[],
  { metadata = {}, ...more }: { metadata?: object; spec?: object; status?: object } = {},
): KubeObject =>
  kubeObject(
    'Pod',
    `demo/${name}`,
    {
      spec: { containers: [{ name: 'c', ports }], ...more.spec },
      status: { phase: 'Running', podIPs: [{ ip: '10.0.1.5' }, { ip: 'fd00:1::5' }], ...more.status },
    },
    metadata,
  );
const http = { containerPort: 80, hostPort: 8080, protocol: 'TCP' };

function world(...pods: KubeObject[]): ServiceWorld {
  const made = new ServiceWorld().start();
  for (const object of pods) made.upsert('pods', object);
  return made.synced();
}
/** `frontend → backend`. */
const paths = (made: ServiceWorld): string[] =>
  Object.entries(made.rows('bpf.frontends')).map(([key, { internalSet, externalSet }]) => {
    expect(internalSet).toBe(externalSet);
    return `${key} → ${made.rows('bpf.backend-sets')[internalSet]?.backends.join()}`;
  });

describe('host ports', () => {
  test('are on all addresses of the node, of both families', () => {
    const made = world(pod('web', [http]));
    expect(paths(made)).toEqual([
      '127.0.0.1:8080/TCP → 10.0.1.5:80/TCP',
      '192.0.2.1:8080/TCP → 10.0.1.5:80/TCP',
      '[2001:db8::1]:8080/TCP → [fd00:1::5]:80/TCP',
      '[::1]:8080/TCP → [fd00:1::5]:80/TCP',
    ]);
    expect(made.rows('bpf.frontends')['192.0.2.1:8080/TCP']).toMatchObject({ type: 'HostPort', service: 'demo/web' });
    expect(Object.keys(made.rows('bpf.backends'))).toEqual(['10.0.1.5:80/TCP', '[fd00:1::5]:80/TCP']);
  });

  test.each([
    ['198.51.100.7', ['198.51.100.7:8080/TCP → 10.0.1.5:80/TCP']],
    ['0.0.0.0', ['127.0.0.1:8080/TCP → 10.0.1.5:80/TCP', '192.0.2.1:8080/TCP → 10.0.1.5:80/TCP']],
    ['::', ['[2001:db8::1]:8080/TCP → [fd00:1::5]:80/TCP', '[::1]:8080/TCP → [fd00:1::5]:80/TCP']],
    ['nonsense', []],
  ])('hostIP %s', (hostIP, expected) => {
    expect(paths(world(pod('web', [{ ...http, hostIP }])))).toEqual(expected);
  });

  test('one for each protocol, and one host port for each of two container ports', () => {
    const ports = [
      { ...http, hostIP: '198.51.100.7' },
      { ...http, protocol: 'UDP', hostIP: '198.51.100.7' },
      { ...http, containerPort: 81, hostIP: '198.51.100.8' },
      { containerPort: 82 },
      { containerPort: 83, hostPort: 70_000 },
    ];
    expect(paths(world(pod('web', ports)))).toEqual([
      '198.51.100.7:8080/TCP → 10.0.1.5:80/TCP',
      '198.51.100.7:8080/UDP → 10.0.1.5:80/UDP',
      '198.51.100.8:8080/TCP → 10.0.1.5:81/TCP',
    ]);
  });

  test.each([
    ['of the host network: its ports are the host’s anyway', { spec: { hostNetwork: true } }],
    ['that has ended', { status: { phase: 'Failed' } }],
    ['without an address yet', { status: { podIPs: [] } }],
  ])('not of a pod %s', (_, more) => {
    expect(paths(world(pod('web', [http], more)))).toEqual([]);
  });

  test('of sidecars, but not of init containers that end', () => {
    const init = (restartPolicy?: string) =>
      pod('web', [], {
        spec: {
          initContainers: [{ ports: [{ ...http, hostIP: '198.51.100.7' }], ...(restartPolicy && { restartPolicy }) }],
        },
      });
    expect(paths(world(init()))).toEqual([]);
    expect(paths(world(init('Always')))).toEqual(['198.51.100.7:8080/TCP → 10.0.1.5:80/TCP']);
  });

  test('go with the pod', () => {
    const made = world(pod('web', [http]));
    made.delete('pods', pod('web', [http]));
    expect([paths(made), made.rows('bpf.backends'), made.rows('bpf.backend-sets')]).toEqual([[], {}, {}]);
    expect(made.engine.machine('host-port/demo/web')).toBeUndefined();
  });

  test('pass from a pod that is going to the one that comes, before it is gone', () => {
    const at = { ...http, hostIP: '198.51.100.7' };
    const metadata = { creationTimestamp: '2026-01-01T00:00:00Z' };
    const old = pod('a-old', [at], { metadata });
    const young = pod('b-young', [at], {
      metadata: { creationTimestamp: '2026-02-01T00:00:00Z' },
      status: { podIPs: [{ ip: '10.0.1.6' }] },
    });
    const made = world(old, young);
    expect(paths(made)).toEqual(['198.51.100.7:8080/TCP → 10.0.1.5:80/TCP']);
    const going = { ...metadata, deletionTimestamp: '2026-03-01T00:00:00Z' };
    const ops = made.upsert('pods', pod('a-old', [at], { metadata: going }));
    expect(paths(made)).toEqual(['198.51.100.7:8080/TCP → 10.0.1.6:80/TCP']);
    expect(ops.filter(({ table }) => table === 'bpf.frontends').map(({ action }) => action)).toEqual(['put']);
  });

  test('a service’s node port goes before', () => {
    const made = world(pod('web', [http]));
    const spec = { type: 'NodePort', clusterIPs: ['10.96.0.1'], ports: [{ port: 80, nodePort: 8080 }] };
    made.upsert('services', kubeObject('Service', 'demo/web', { spec }));
    expect(made.rows('bpf.frontends')['192.0.2.1:8080/TCP']?.type).toBe('NodePort');
    expect(made.rows('bpf.frontends')['[2001:db8::1]:8080/TCP']?.type).toBe('HostPort');
  });
});
