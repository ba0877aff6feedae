/** Rows and facts in groups, on a toy machine: one group for each pod that it knows. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { assign, setup } from 'xstate';
import type { ClusterEvent, LogEntry } from '../cluster/events.ts';
import type { Kind } from '../machines/machine.ts';
import { Engine } from './engine.ts';

interface ListContext {
  macs: Readonly<Record<string, string>>;
  touched: readonly string[];
}
type Heard = { type: string; object: { metadata: { name: string }; mac?: string }; value?: string; topic: string };

/** Facts of which groups were asked for. */
let asked: string[] = [];

const list: Kind = {
  name: 'list',
  logic: setup({
    types: {} as { context: ListContext; events: Heard },
    actions: {
      learn: assign(({ context, event }) => {
        const { name } = event.object.metadata;
        const { [name]: _, ...others } = context.macs;
        const mac = event.type === 'kube.upserted' ? event.object.mac : undefined;
        return { macs: mac ? { ...others, [name]: mac } : others, touched: [name] };
      }),
    },
  }).createMachine({
    context: { macs: {}, touched: [] },
    on: { 'kube.upserted': { actions: 'learn' }, 'kube.deleted': { actions: 'learn' } },
  }),
  births: { 'kube.upserted': () => [{ key: 'list', input: {} }], 'kube.deleted': () => [{ key: 'list', input: {} }] },
  topics: () => ['every/pods'],
  rows: () => [],
  groups: {
    touched: ({ context }) => (context as ListContext).touched,
    rows: ({ context }, group) => {
      const mac = (context as ListContext).macs[group];
      const value = { kind: 'veth' as const, mac: mac ?? '', mtu: 1500, peer: { name: 'eth0', mac: '', netns: '' } };
      return mac ? [{ table: 'links', key: group, value }] : [];
    },
    facts: ({ context }, group) => {
      asked.push(group);
      const mac = (context as ListContext).macs[group];
      return mac ? [{ topic: `mac/${group}`, value: mac }] : [];
    },
  },
};

const NAMES = ['a', 'b', 'c'];

const listener: Kind = {
  name: 'listener',
  logic: setup({ types: {} as { context: Record<string, string | undefined>; events: Heard } }).createMachine({
    context: {},
    on: { fact: { actions: assign(({ context, event }) => ({ ...context, [event.topic]: event.value })) } },
  }),
  births: { 'kube.upserted': () => [{ key: 'listener', input: {} }] },
  topics: () => NAMES.map((name) => `mac/${name}`),
  rows: () => [],
};

const change = fc.record({ name: fc.constantFrom(...NAMES), mac: fc.constantFrom(undefined, '02:01', '02:02') });

it('a fact of a group is heard when it changes and when it ends, and only touched groups are asked', () => {
  fc.assert(
    fc.property(fc.array(change, { maxLength: 20 }), (changes) => {
      const engine = new Engine([list, listener], { rows: () => [], write: () => {} });
      const wanted: Record<string, string | undefined> = {};
      for (const [at, { name, mac }] of changes.entries()) {
        asked = [];
        engine.step(logged(at + 1, name, mac));
        expect(new Set(asked)).toEqual(new Set([name]));
        wanted[`mac/${name}`] = mac;
      }
      const heard = (engine.machine('listener')?.context ?? {}) as Record<string, string | undefined>;
      for (const name of NAMES) expect(heard[`mac/${name}`]).toBe(wanted[`mac/${name}`]);
    }),
  );
});

function logged(seq: number, name: string, mac: string | undefined): LogEntry {
  const object = { apiVersion: 'v1', kind: 'Pod', metadata: { name }, mac };
  const event: ClusterEvent = { type: mac ? 'kube.upserted' : 'kube.deleted', resource: 'pods', object };
  return { seq, at: seq, source: 'test', event };
}
