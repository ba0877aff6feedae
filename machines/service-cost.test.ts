/** What a change of a slice costs: the ops of its changed rows, and no more rows made again than the slice has. */
import { describe, expect, test } from 'vitest';
import type { KubeObject } from '../cluster/events.ts';
import type { Op } from '../datapath/driver.ts';
import { kubeObject, ServiceWorld, sliceObject } from '../simulations/services.ts';
import { service as serviceKind } from './service.ts';

const brief = (ops: readonly Op[]): string[] => ops.map(({ action, table, key }) => `${action} ${table} ${key}`);

describe('the cost of a change', () => {
  const web = kubeObject('Service', 'demo/big', {
    spec: { clusterIPs: ['10.96.0.1', 'fd00:96::1'], ports: [{ port: 80 }], externalIPs: ['203.0.113.1'] },
  });
  const SLICES = 50;
  const PER_SLICE = 100;
  const slice = (n: number, family: 'IPv4' | 'IPv6', but: Record<number, object | undefined> = {}): KubeObject =>
    sliceObject('demo/big', `${family.toLowerCase()}-${n}`, {
      addressType: family,
      endpoints: Array.from({ length: PER_SLICE }, (_, i) => i).flatMap((i) => {
        const address = family === 'IPv4' ? `10.1.${n}.${i}` : `fd00:1::${n}:${i}`;
        const instead = i in but ? but[i] : {};
        return instead ? [{ addresses: [address], conditions: {}, ...instead }] : [];
      }),
    });

  test('of a service with ten backends: one changed slice, its changed rows', () => {
    const small = (last: number) =>
      sliceObject('demo/big', 's', {
        endpoints: Array.from({ length: 10 }, (_, i) => ({ addresses: [`10.1.0.${i === 9 ? last : i}`] })),
      });
    const world = new ServiceWorld().start();
    world.upsert('services', web);
    world.upsert('endpointslices', small(9));
    world.synced();
    expect(brief(world.upsert('endpointslices', small(10)))).toEqual([
      'put bpf.backends 10.1.0.10:8080/TCP',
      'put bpf.backend-sets demo/big:/IPv4',
      'delete bpf.backends 10.1.0.9:8080/TCP',
    ]);
  });

  test('of a service with 10,000 endpoints: the ops of the change, and the rows of one slice made again', () => {
    const world = new ServiceWorld().start();
    world.upsert('services', web);
    for (let n = 0; n < SLICES; n++)
      for (const family of ['IPv4', 'IPv6'] as const) world.upsert('endpointslices', slice(n, family));
    world.synced();
    expect(Object.keys(world.rows('bpf.backends'))).toHaveLength(2 * SLICES * PER_SLICE);

    let made = 0;
    const { rows, groups } = serviceKind;
    if (!groups) throw new Error('services have groups');
    const groupRows = groups.rows;
    serviceKind.rows = (snapshot) => counted(rows(snapshot));
    groups.rows = (snapshot, group) => counted(groupRows(snapshot, group));
    const counted = <T extends readonly unknown[]>(all: T): T => {
      made += all.length;
      return all;
    };
    try {
      const notReady = slice(7, 'IPv4', { 3: { conditions: { ready: false } } });
      expect(brief(world.upsert('endpointslices', notReady))).toEqual(['put bpf.backend-sets demo/big:/IPv4']);
      const gone = slice(7, 'IPv4', { 3: undefined });
      expect(brief(world.upsert('endpointslices', gone))).toEqual(['delete bpf.backends 10.1.7.3:8080/TCP']);
      const moved = slice(7, 'IPv4', { 3: { addresses: ['10.2.0.1'] } });
      expect(brief(world.upsert('endpointslices', moved))).toEqual([
        'put bpf.backends 10.2.0.1:8080/TCP',
        'put bpf.backend-sets demo/big:/IPv4',
      ]);
      // Three events: a slice of 100, a set, and the frontends.
      expect(made).toBeLessThan(3 * (PER_SLICE + 10));
      expect(world.upsert('endpointslices', moved)).toEqual([]);
    } finally {
      serviceKind.rows = rows;
      groups.rows = groupRows;
    }
  });

  test('an endpoint that moves from slice to slice of a big service is never taken away', () => {
    const world = new ServiceWorld().start();
    world.upsert('services', web);
    for (let n = 0; n < 6; n++) world.upsert('endpointslices', slice(n, 'IPv4'));
    world.synced();
    const key = '10.1.0.3:8080/TCP';
    const touching = (ops: readonly Op[]) => brief(ops.filter((op) => op.key === key));
    const taken = { 5: { addresses: ['10.1.0.3'] } };
    expect(touching(world.upsert('endpointslices', slice(4, 'IPv4', taken)))).toEqual([]);
    expect(touching(world.upsert('endpointslices', slice(2, 'IPv4', taken)))).toEqual([]);
    expect(touching(world.upsert('endpointslices', slice(0, 'IPv4', { 3: undefined })))).toEqual([]);
    expect(touching(world.delete('endpointslices', slice(2, 'IPv4')))).toEqual([]);
    expect(touching(world.upsert('endpointslices', slice(0, 'IPv4')))).toEqual([]);
    expect(touching(world.upsert('endpointslices', slice(4, 'IPv4')))).toEqual([]);
    expect(touching(world.upsert('endpointslices', slice(0, 'IPv4', { 3: undefined })))).toEqual([
      `delete bpf.backends ${key}`,
    ]);
  });
});
