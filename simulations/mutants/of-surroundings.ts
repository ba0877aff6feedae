/** Ways to break what is around the engine: watches, machines, what builds leave to each other, encryption, replays. */
import type { Mutant } from './list.ts';

const watch = 'cluster/watch.ts';
const watchedSet = 'cluster/watched-set.ts';
const copies = 'datapath/map-copies.ts';
const pinnedMaps = 'datapath/pinned-maps.ts';
const handover = 'datapath/handover.ts';
const translation = 'datapath/translation.ts';
const endpoint = 'machines/endpoint-context.ts';
const ipsec = 'machines/ipsec.ts';

export const ofSurroundings: readonly Mutant[] = [
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
  {
    name: 'goes on after a reconnect from what is newest',
    file: watch,
    find: 'resourceVersion: this.#set.revision,',
    replace: "resourceVersion: this.#failures > 0 ? '' : this.#set.revision,",
  },
  {
    name: 'waits for ever for a silent server',
    file: watch,
    find: 'cancel = this.#after(silenceMaxMs, () => silence.abort());',
    replace: '',
  },
  {
    name: 'does not move on with bookmarks',
    file: watchedSet,
    find: '    this.#revision = revision;\n    switch',
    replace: "    if (type !== 'BOOKMARK') this.#revision = revision;\n    switch",
  },
  {
    name: 'says what is gone before what is there',
    file: watchedSet,
    find: "    for (const object of objects) events.push(...this.#upserted(object));\n    for (const [key, object] of gone) {\n      this.#known.delete(key);\n      events.push({ type: 'delete', object });\n    }\n",
    replace:
      "    for (const [key, object] of gone) {\n      this.#known.delete(key);\n      events.push({ type: 'delete', object });\n    }\n    for (const object of objects) events.push(...this.#upserted(object));\n",
  },
  {
    name: 'tells its WireGuard key before the device has it',
    file: 'machines/wireguard.ts',
    find: 'keying: {\n      always:',
    replace: "keying: {\n      entry: 'announce',\n      always:",
  },
  {
    name: 'ends the handover while programs of before run',
    file: handover,
    find: '.every((other) => other === build)',
    replace: '.some((other) => other === build)',
  },
  {
    name: 'writes over what new programs have learnt',
    file: copies,
    find: "      if (there.has(keys.toString('latin1', i * keySize, (i + 1) * keySize))) continue;\n      const key = keys.subarray(i * keySize, (i + 1) * keySize);\n      if (putIfAbsent(target, key, values.subarray(i * valueBytes, (i + 1) * valueBytes))) added++;",
    replace:
      '      const key = keys.subarray(i * keySize, (i + 1) * keySize);\n      target.put(key, values.subarray(i * valueBytes, (i + 1) * valueBytes)); added++;',
  },
];
