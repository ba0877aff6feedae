/** Every prefix of a plan is safe: a referent is there before and after what refers to it. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import type { Op } from '../datapath/driver.ts';
import { tableNames, tables } from '../state/tables.ts';
import { plan } from './plan.ts';

const anyOp = fc.record({
  table: fc.constantFrom(...tableNames),
  action: fc.constantFrom('put' as const, 'delete' as const),
  key: fc.constantFrom('a', 'b', 'c'),
});
const toOp = (op: { table: Op['table']; action: Op['action']; key: string }): Op => ({
  ...op,
  value: {},
  before: undefined,
  revision: 1,
  owners: [],
});

it('puts rise in rank and come before deletes, which fall; nothing is lost, and order of input does not matter', () => {
  fc.assert(
    fc.property(fc.uniqueArray(anyOp, { selector: (op) => JSON.stringify(op) }), (input) => {
      const ops = input.map(toOp);
      const steps = plan(ops);
      expect(plan([...ops].reverse())).toEqual(steps);
      expect(steps.flatMap((step) => step.ops)).toHaveLength(ops.length);
      const ranks = steps.map(({ table, action }) => {
        const { rank, deleteRank = rank } = tables[table];
        return action === 'put' ? rank : 10_000 - deleteRank;
      });
      expect(ranks).toEqual([...ranks].sort((a, b) => a - b));
    }),
  );
});

it('a pod is wired from the link up and taken down from the maps, its programs never missing while the link is there', () => {
  const wired = ['links', 'attachments', 'addrs', 'routes', 'bpf.ipcache', 'bpf.endpoints'] as const;
  const order = (action: Op['action']): string[] =>
    plan(wired.map((table) => toOp({ table, action, key: 'x' }))).map((step) => step.table);
  expect(order('put')).toEqual(['links', 'attachments', 'addrs', 'routes', 'bpf.ipcache', 'bpf.endpoints']);
  expect(order('delete')).toEqual(['bpf.endpoints', 'bpf.ipcache', 'routes', 'addrs', 'links', 'attachments']);
});
