/** Ways to break the engine: its plans, its rows, its loop and the order of its tables. */
import type { Mutant } from './list.ts';

const engine = 'reconcilers/engine.ts';
const rows = 'reconcilers/rows.ts';
const plan = 'reconcilers/plan.ts';
const population = 'reconcilers/population.ts';
const loop = 'reconcilers/loop.ts';
const tables = 'state/tables.ts';

export const ofEngine: readonly Mutant[] = [
  {
    name: 'skips an op now and then',
    file: engine,
    find: 'if (op) ops.push(op);',
    replace: 'if (op && (this.#events % 11 !== 3)) ops.push(op);',
  },
  {
    name: 'forgets deletes',
    file: engine,
    find: 'if (wanted?.json === entry.actualJson) return undefined;',
    replace: 'if (wanted?.json === entry.actualJson || !wanted) return undefined;',
  },
  {
    name: 'deletes orphans before all has been listed',
    file: engine,
    find: 'return !entry.everWanted && !tables[entry.table].sources.every((source) => this.#sources.has(source));',
    replace: 'return entry.everWanted && !this.#sources.has(entry.table);',
  },
  {
    name: 'makes a second op for a row that has one under way',
    file: engine,
    find: 'if (entry.inFlight || entry.error) return undefined;',
    replace: 'if (entry.error) return undefined;',
  },
  {
    name: 'does not wait for the plan before',
    file: engine,
    find: 'if (mustWait) return ops;',
    replace: 'if (mustWait && ops.length > 1_000_000) return ops;',
  },
  {
    name: 'takes the result of an older op for that of the newest',
    file: engine,
    find: 'if (error && entry.revision === revision) this.#failed(entry, error);',
    replace: 'if (error) this.#failed(entry, error);',
  },
  {
    name: 'forgets what is held back',
    file: engine,
    find: 'this.#heldBack.add(entry);\n      return undefined;',
    replace: 'return undefined;',
  },
  {
    name: 'does not tell machines of failures',
    file: engine,
    find: "this.#population.send(key, { type: 'failed', table: entry.table, key: entry.key, error });",
    replace: 'void key;',
  },
  {
    name: 'says settled too early',
    file: engine,
    find: 'if (machine.unsettled.size > 0 || !machine.owedSettled) continue;',
    replace: 'if (!machine.owedSettled) continue;',
  },
  {
    name: 'believes in an op that failed',
    file: engine,
    find: "if (!error) {\n      this.#rows.setActual(entry, op.action === 'put' ? op.value : undefined);",
    replace: "if (error !== null) {\n      this.#rows.setActual(entry, op.action === 'put' ? op.value : undefined);",
  },
  { name: 'ignores drift', file: engine, find: "this.#rows.touch(entry, 'drift');", replace: 'void entry;' },
  {
    name: 'does not store what it did',
    file: engine,
    find: 'this.#persist(entry, record);',
    replace: 'void record;',
  },
  {
    name: 'leaves deleted rows in the store',
    file: engine,
    find: 'const json = entry.actualJson;',
    replace: 'const json = entry.actualJson;\n    if (json === undefined) return;',
  },
  {
    name: 'goes on with a plan whose failed rows are not in it',
    file: engine,
    find: 'joinFailed(this.#rows, this.#waiting, this.#population.machines);\n',
    replace: '\n',
  },
  {
    name: 'does not hear a machine that wants to try again',
    file: engine,
    find: "for (const entry of machine.unsettled) if (entry.error) this.#rows.touch(entry, 'retry');",
    replace: 'void machine;',
  },
  {
    name: 'lets the last machine decide what two want',
    file: rows,
    find: 'inOrder(entry)[0]',
    replace: 'inOrder(entry).at(-1)',
  },
  {
    name: 'keeps rows that a machine gave up',
    file: rows,
    find: "if (entry.wants.delete(machine)) this.touch(entry, 'desired');",
    replace: 'entry.wants.delete(machine);',
  },
  { name: 'does not count revisions', file: rows, find: 'entry.revision++;', replace: 'entry.revision += 0;' },
  {
    name: 'deletes before it puts',
    file: plan,
    find: 'AFTER_ALL_PUTS - deleteRank',
    replace: '-deleteRank',
  },
  {
    name: 'deletes what is named before what names it',
    file: plan,
    find: 'AFTER_ALL_PUTS - deleteRank',
    replace: 'AFTER_ALL_PUTS + deleteRank',
  },
  {
    name: 'puts what names before what is named',
    file: plan,
    find: "action === 'put' ? rank",
    replace: "action === 'put' ? -rank",
  },
  {
    name: 'swaps denials and allowances',
    file: tables,
    find: '?.deny ? 0 : 1)',
    replace: '?.deny ? 1 : 0)',
  },
  {
    name: 'gives an address its identity before policy knows it',
    file: tables,
    find: "    rank: 44,\n    lane: 'kernel',",
    replace: "    rank: 40,\n    lane: 'kernel',",
  },
  {
    name: 'detaches programs before the link goes',
    file: tables,
    find: '    deleteRank: 8,\n',
    replace: '',
  },
  {
    name: 'puts sets of backends before backends',
    file: tables,
    find: '    rank: 51,',
    replace: '    rank: 49,',
  },
  {
    name: 'a newcomer does not hear what is known',
    file: population,
    find: 'for (const message of this.#facts.of(topic)) this.send(machine.key, message);',
    replace: 'void topic;',
  },
  {
    name: 'facts never end',
    file: population,
    find: 'if (!now.has(topic)) this.#fact(machine, topic, undefined);',
    replace: 'void topic;',
  },
  {
    name: 'goes on in a plan after a failure',
    file: loop,
    find: 'for (const owner of op.owners) unlucky.add(owner);',
    replace: 'void op;',
  },
  {
    name: 'deletes what nobody owns after a failure',
    file: loop,
    find: '        hasFailed = true;\n',
    replace: '',
  },
  {
    name: 'does not see that a row vanished',
    file: loop,
    find: 'for (const key of known.keys()) if (!there.has(key)) changes.push({ key, value: null });',
    replace: '',
  },
  {
    name: 'hears of a machine only when its state has another name',
    file: population,
    find: 'const hasChanged = hasMoved || !hasSameFields(snapshot.context, before.context);',
    replace: 'const hasChanged = hasMoved;',
  },
  {
    name: 'believes after a crash what is stored and no longer there',
    file: loop,
    find: '...differences(known, there).filter(({ value }) => value === null),',
    replace: '',
  },
  {
    name: 'does not write again what others deleted',
    file: engine,
    find: "if (entry?.actual !== undefined) this.#observe('kube.objects', [{ key, value: undefined }]);",
    replace: 'void entry;',
  },
  {
    name: 'does not miss what went before the start',
    file: engine,
    find: 'this.#missed(key);',
    replace: 'void key;',
  },
  { name: 'does not miss what went between two lists', file: loop, find: 'this.#resyncObjects();\n', replace: '\n' },
  {
    name: 'takes an object for gone at the first look',
    file: loop,
    find: 'untold.filter((key) => this.#untold.has(key))',
    replace: 'untold.filter(() => true)',
  },
  {
    name: 'opens a frontend before its backends are named',
    file: tables,
    find: '    rank: 53,',
    replace: '    rank: 49,',
  },
  {
    name: 'has a frontend before it is known who may use it',
    file: tables,
    find: '    rank: 52,',
    replace: '    rank: 54,',
  },
  {
    name: 'asks for encryption before there is an association',
    file: tables,
    find: '    rank: 33,',
    replace: '    rank: 46,',
  },
  {
    name: 'asks for encryption before there is a peer',
    file: tables,
    find: "'wireguard.peers': { rank: 35",
    replace: "'wireguard.peers': { rank: 46",
  },
  {
    name: 'forgets in a checkpoint which deletes are held back',
    file: engine,
    find: 'for (const entry of saved.heldBack) engine.#heldBack.add(entry);',
    replace: '',
  },
  {
    name: 'forgets in a checkpoint what waits for the plan before',
    file: engine,
    find: 'for (const entry of saved.waiting) engine.#waiting.add(entry);',
    replace: '',
  },
];
