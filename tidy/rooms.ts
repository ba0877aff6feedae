/** The rooms of this project and what each may import: the table of README.md, "Rooms", as data. */

/** `state/tables` and the like name one file of a room; a bare name is the whole room. */
export interface Room {
  mayImport: readonly string[];
  /** Packages beside `node:*`; undefined: any that package.json declares. */
  packages?: readonly string[];
  /** No `node:*`, clock, randomness or timers: the same input always gives the same output. */
  pure?: true;
}

const facts = ['state/tables', 'cluster/events'];

export const rooms: Readonly<Record<string, Room>> = {
  // Its code is C; what is TypeScript there drives the programs from outside, in tests.
  bpf: { mayImport: ['native', 'datapath', 'state'], packages: [] },
  native: { mayImport: [], packages: [] },
  state: { mayImport: [], packages: ['better-sqlite3'] },
  cluster: { mayImport: ['state/tables'] },
  policy: { mayImport: facts, packages: ['immer', 'ipaddr.js'], pure: true },
  machines: { mayImport: [...facts, 'policy'], packages: ['immer', 'ipaddr.js', 'xstate'], pure: true },
  datapath: { mayImport: ['native', ...facts] },
  reconcilers: { mayImport: ['native', 'state', 'cluster', 'policy', 'machines', 'datapath'] },
  observe: { mayImport: ['native', 'state', 'cluster', 'policy', 'machines', 'datapath', 'reconcilers'] },
  simulations: {
    mayImport: ['native', 'state', 'cluster', 'policy', 'machines', 'datapath', 'reconcilers', 'observe', 'bpf'],
  },
  cli: {
    mayImport: [
      'native',
      'state',
      'cluster',
      'policy',
      'machines',
      'datapath',
      'reconcilers',
      'observe',
      'simulations',
    ],
  },
  deploy: { mayImport: [], packages: [] },
  tidy: { mayImport: [] },
};
