/** Ways to break the engine and what it stands on, each by one change of text; `mutants.test.ts` sees that the texts are there once. */

export interface Mutant {
  /** What it does, as a release engineer would say it. */
  name: string;
  file: string;
  find: string;
  replace: string;
}

const engine = 'reconcilers/engine.ts';
const rows = 'reconcilers/rows.ts';
const plan = 'reconcilers/plan.ts';
const population = 'reconcilers/population.ts';
const loop = 'reconcilers/loop.ts';
const tables = 'state/tables.ts';
const watch = 'cluster/watch.ts';
const watchedSet = 'cluster/watched-set.ts';
const copies = 'datapath/map-copies.ts';
const pinnedMaps = 'datapath/pinned-maps.ts';
const handover = 'datapath/handover.ts';
const translation = 'datapath/translation.ts';
const endpoint = 'machines/endpoint-context.ts';
const ipsec = 'machines/ipsec.ts';

export const mutants: readonly Mutant[] = [
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
    name: 'ignores a 410',
    file: watch,
    find: 'if (mustRelist(error)) this.#mustList = true;',
    replace: '',
  },
  {
    name: 'loses deletions over a relist',
    file: watchedSet,
    find: "      events.push({ type: 'delete', object });\n",
    replace: '',
  },
  {
    name: 'says again what a reconnect repeats',
    file: watchedSet,
    find: "if (revision === '' || !isLater(revision, this.#revision)) return [];",
    replace: "if (revision === '') return [];",
  },
  {
    name: 'loses modifications',
    file: watchedSet,
    find: "    case 'MODIFIED':\n",
    replace: '',
  },
  {
    name: 'does not say that a namesake is another object',
    file: watchedSet,
    find: 'before && before.metadata.uid !== uid ?',
    replace: 'before && before.metadata.uid === undefined && uid ?',
  },
  {
    name: 'enforces policy before it is all known',
    file: 'machines/policy.ts',
    find: '      context.synced.includes(source),\n',
    replace: "      context.synced.includes(source) || source !== '',\n",
  },
  {
    name: 'closes one end and opens another at once',
    file: 'machines/policy-apply.ts',
    find: 'if (also.length === 0 && !isExchange(before, after.state, after.touched)) return settle(context, before, after);',
    replace: 'if (also.length < 1_000_000) return settle(context, before, after);',
  },
  {
    name: 'resets connections at a migration',
    file: copies,
    find: "if (source.info.type === 'hash_of_maps') return copyInner(source, target, by);",
    replace:
      "if (by && source.info.type === 'lru_hash') return 0; else if (source.info.type === 'hash_of_maps') return copyInner(source, target, by);",
  },
  {
    name: 'takes the maps of a policy along as they are',
    file: copies,
    find: 'const made = by ? innerIn(inner, by) : inner;',
    replace: 'const made = inner; if (by) continue;',
  },
  {
    name: 'forgets the layout of a map that was replaced before the agent died',
    file: pinnedMaps,
    find: 'if (!existsSync(join(this.#folder, next))) texts.put(name, layout);',
    replace: '',
  },
  {
    name: 'forgets what was learnt between two builds',
    file: handover,
    find: 'for (const { pin, name } of olds) added += addFrom(mapsFolder, pin, name, texts);',
    replace: '',
  },
  {
    name: 'writes integers in the byte order of before',
    file: translation,
    find: 'into.subarray(start, start + size).reverse();',
    replace: '',
  },
  {
    name: 'takes a field from where the new layout has it',
    file: translation,
    find: 'if (from.size === to.size) return [{ from: from.offset, to: to.offset, bytes: bytes * count }];',
    replace: 'if (from.size === to.size) return [{ from: to.offset, to: to.offset, bytes: bytes * count }];',
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
    name: 'takes a new identity before other nodes know it',
    file: endpoint,
    find: 'draft.next = isOther && sinceMs > 0 && dueMs > at ? { identity, labels, dueMs } : undefined;',
    replace: 'draft.next = isOther && dueMs < 0 ? { identity, labels, dueMs } : undefined;',
  },
  {
    name: 'takes a new identity before policy allows it',
    file: endpoint,
    find: 'if (draft.identity === 0 || !draft.agent?.policy) take(draft);',
    replace: 'take(draft);',
  },
  {
    name: 'refuses the key of before as soon as there is another',
    file: ipsec,
    find: 'untilMs: key.untilMs || at + rotationGraceMs',
    replace: 'untilMs: at',
  },
  {
    name: 'asks for the new key before others can have it',
    file: ipsec,
    find: 'else draft.announceAtMs = at + Math.min(ANNOUNCE_AFTER_MS, rotationGraceMs / 2);',
    replace: 'else draft.announced = newest;',
  },
  {
    name: 'gives WireGuard an address twice when it moves inside a range',
    file: 'datapath/drivers/allowed-ips.ts',
    find: 'if (wider < limit && names.has(',
    replace: 'if (wider < 0 && names.has(',
  },
  {
    name: 'takes results of before a frame for those of other ops',
    file: 'simulations/replay/player.ts',
    find: 'if (op?.action === result.action) result.revision = op.revision;',
    replace: 'void op;',
  },
  {
    name: 'goes on from a checkpoint after the moment that was asked for',
    file: 'simulations/replay/checkpoints.ts',
    find: 'one.run < run || (one.run === run && one.seq <= until.seq)',
    replace: 'one.run <= run',
  },
];
