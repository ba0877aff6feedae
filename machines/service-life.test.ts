/** The life of a service's machine: when it begins to want, whose slices it takes, how its rows go, and what a full map does. */
import { describe, expect, test } from 'vitest';
import {
  chosen,
  endpoint,
  ServiceWorld,
  webService as service,
  sliceOf as slice,
  sliceObject,
  worldOf as world,
} from '../simulations/services.ts';

const VIP = '10.96.0.1:80/TCP';

describe('life', () => {
  test('nothing is wanted before all lists are complete, and then what is in the kernel is taken over', () => {
    const first = world([service(), slice([{ ip: '10.0.0.1' }])]);
    const made = new ServiceWorld();
    for (const table of ['bpf.backends', 'bpf.backend-sets', 'bpf.frontends'] as const)
      made.say({
        type: 'observed',
        table,
        changes: Object.entries(first.rows(table)).map(([key, value]) => ({ key, value })),
      });
    made.start();
    made.upsert('services', service());
    expect(made.state('demo/web')).toBe('waiting');
    made.upsert('endpointslices', slice([{ ip: '10.0.0.1' }]));
    made.synced();
    expect(made.ops.filter(({ table }) => table.startsWith('bpf.b') || table === 'bpf.frontends')).toEqual([]);
    expect(made.state('demo/web')).toBe('balancing');
  });

  test('a slice of a service that is not there waits, in any namespace but its own it is nobody’s', () => {
    const made = world([slice([{ ip: '10.0.0.1' }])]);
    expect([made.state('demo/web'), made.rows('bpf.backends')]).toEqual(['waiting', {}]);
    const foreign = sliceObject('other/web', 'web-1', { endpoints: [endpoint({ ip: '10.0.9.9' })] });
    made.upsert('endpointslices', foreign);
    made.upsert('services', service());
    expect(chosen(made, VIP)).toEqual(['10.0.0.1']);
    made.delete('services', service());
    expect([made.state('demo/web'), made.rows('bpf.backends'), made.rows('bpf.frontends')]).toEqual([
      'waiting',
      {},
      {},
    ]);
    made.delete('endpointslices', slice([]));
    expect(made.state('demo/web')).toBeUndefined();
  });

  test('a slice that is given to another service leaves this one', () => {
    const made = world([service(), slice([{ ip: '10.0.0.1' }])]);
    const moved = slice([{ ip: '10.0.0.1' }]);
    made.upsert('endpointslices', {
      ...moved,
      metadata: { ...moved.metadata, labels: { 'kubernetes.io/service-name': 'other' } },
    });
    expect(chosen(made, VIP)).toEqual([]);
  });

  test('deletes go frontends first, backends last', () => {
    const made = world([service(), slice([{ ip: '10.0.0.1' }])]);
    const tables = made.delete('services', service()).map(({ table, action }) => `${action} ${table}`);
    expect(tables).toEqual(['delete bpf.frontends', 'delete bpf.backend-sets', 'delete bpf.backends']);
  });

  test('a full map is told, tried again with pauses, and over when there is room', () => {
    const made = world([service()]);
    made.refuse = ({ table }) => table === 'bpf.backends';
    made.upsert('endpointslices', slice([{ ip: '10.0.0.1' }, { ip: '10.0.0.2' }]));
    expect(made.state('demo/web')).toBe('failing');
    expect(made.engine.machine('service/demo/web')?.context).toMatchObject({
      backoff: { attempt: 1, reason: expect.stringMatching(/^bpf\.backends 10\.0\.0\.\d:8080.*full/) },
    });
    made.say({ type: 'timer.fired', key: 'service/demo/web/retry' });
    expect(made.state('demo/web')).toBe('failing');
    made.refuse = () => false;
    made.say({ type: 'timer.fired', key: 'service/demo/web/retry' });
    expect([made.state('demo/web'), chosen(made, VIP)]).toEqual(['balancing', ['10.0.0.1', '10.0.0.2']]);
    expect(made.engine.machine('service/demo/web')?.context).toMatchObject({ backoff: { attempt: 0 } });
  });
});
