/** Machines: all, one, their kinds, and their transitions and ops as they happen. */
import { filter } from 'rxjs';
import { graphOf } from '../kind-graph.ts';
import { machineTitle } from '../machine-title.ts';
import { mermaidOf } from '../mermaid.ts';
import { nearest } from '../nearest.ts';
import type { History } from './history.ts';
import { isFollow, json, Refusal, type Route } from './http.ts';
import type { DebugSources } from './sources.ts';

export function machineRoutes({ inspector }: DebugSources, history: History): Route[] {
  return [
    {
      pattern: '/v1/machines',
      doc: 'every machine with state, topics, rows and latest transition; ?kind=, ?state=',
      answer({ params }) {
        const [kind, state] = [params.get('kind'), params.get('state')];
        const kinds = inspector.kinds().map(({ name }) => name);
        if (kind !== null && !kinds.includes(kind))
          throw new Refusal(400, `no kind of machine is named ${kind}`, `one of ${kinds.join(', ')}`);
        const all = inspector
          .machines()
          .filter((one) => (!kind || one.kind === kind) && (!state || one.state === state));
        return json(all.map(({ context, ...view }) => ({ ...view, title: machineTitle({ ...view, context }) })));
      },
    },
    {
      pattern: '/v1/machines/*',
      doc: 'one machine: state, context, topics, rows, unfinished ops and its last 50 transitions',
      answer({ rest }) {
        const machine = inspector.machine(rest);
        if (!machine) {
          const near = nearest(
            rest,
            inspector.machines().map(({ key }) => key),
          );
          throw new Refusal(404, `no machine has the key ${rest}`, 'a key from /v1/machines', near);
        }
        const pending = machine.rows
          .filter(({ state }) => state !== 'in-sync')
          .map(({ table, key }) => inspector.explain(table, key))
          .map((explanation) => explanation && { ...explanation.row, op: explanation.op });
        return json({ ...machine, pending });
      },
    },
    {
      pattern: '/v1/kinds',
      doc: 'kinds of machines, and how many of each live',
      answer() {
        const machines = inspector.machines();
        return json(
          inspector.kinds().map(({ name }) => ({
            name,
            machines: machines.filter(({ kind }) => kind === name).length,
            diagram: `/v1/kinds/${name}.mmd`,
          })),
        );
      },
    },
    {
      pattern: '/v1/kinds/*',
      doc: 'NAME.mmd: the definition of a kind as a Mermaid state diagram; NAME.json: as states and transitions',
      answer({ rest }) {
        const names = inspector.kinds().map(({ name }) => name);
        const found = inspector.kinds().find(({ name }) => rest.replace(/\.(mmd|json)$/, '') === name);
        if (!found)
          throw new Refusal(
            404,
            `no kind of machine is named ${rest}`,
            `one of ${names.map((name) => `${name}.mmd`).join(', ')}`,
          );
        if (rest.endsWith('.json')) return json(graphOf(found.logic));
        return { kind: 'text', body: mermaidOf(found.logic) };
      },
    },
    {
      pattern: '/v1/transitions',
      doc: 'latest transitions; ?follow: as they happen; ?machine=KEY',
      answer({ params }) {
        const machine = params.get('machine');
        const isMeant = (one: { machine: string }): boolean => machine === null || one.machine === machine;
        const past = history.transitions.filter(isMeant);
        if (!isFollow(params)) return json(past);
        return { kind: 'stream', lines: inspector.transitions$.pipe(filter(isMeant)) };
      },
    },
    {
      pattern: '/v1/ops',
      doc: 'latest ops, when planned and when done; ?follow: as they happen; ?table=NAME',
      answer({ params }) {
        const table = params.get('table');
        const isMeant = (one: { table: string }): boolean => table === null || one.table === table;
        if (!isFollow(params)) return json(history.ops.filter(isMeant));
        return { kind: 'stream', lines: inspector.ops$.pipe(filter(isMeant)) };
      },
    },
  ];
}
