/**
 * Pinned maps of the real kernel through any order of releases, whose agents die at any step of the start: every entry stays what it was.
 *
 * - Maps only, without programs, so that hundreds of starts take seconds.
 */
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { Codecs, encode, type Fields } from '../../datapath/codec.ts';
import { handOver } from '../../datapath/handover.ts';
import { PinnedMaps } from '../../datapath/pinned-maps.ts';
import { type Btf, btfOfObject, createMap, mountBpffs, openPinnedMap } from '../../native/index.ts';
import { releasedObject, releases } from '../releases/release.ts';

const BPFFS = '/sys/fs/bpf';
const ENTRIES_MAX = 64;
const INNER_MAX = 16;
/** Whose layouts have changed, whose have not, and a map of maps with the witness of its layout. */
const NAMES = ['policy', 'conntrack', 'nat', 'ipcache', 'endpoints'];
const objects = releases().map(({ version }) => {
  const btf = btfOfObject(releasedObject(version, 'datapath'));
  return { version, btf: { ...btf, maps: NAMES.flatMap((name) => btf.maps.find((map) => map.name === name) ?? []) } };
});

const start = fc.record({ release: fc.nat(objects.length - 1), diesAt: fc.option(fc.nat(24)), adds: fc.nat(3) });
const history = fc.array(start, { minLength: 2, maxLength: 6 });

class Died extends Error {}
let made = 0;

class Node {
  readonly folder = join(BPFFS, `axt-${process.pid}-maps${++made}`, 'maps');
  readonly programs = join(this.folder, '../programs');
  readonly #entries: { map: string; key: unknown; value: Fields }[] = [];
  #btf: Btf | undefined;

  constructor() {
    mountBpffs(BPFFS);
    mkdirSync(this.folder, { recursive: true });
    mkdirSync(this.programs, { recursive: true });
  }

  /** False: it died. */
  start(btf: Btf, diesAt: number | null): boolean {
    let steps = 0;
    const pinned = new PinnedMaps(this.folder, btf, () => {
      if (steps++ === diesAt) throw new Died();
    });
    try {
      const plans = pinned.plan(Object.fromEntries(NAMES.map((name) => [name, ENTRIES_MAX])));
      for (const { name, fate, loadPath, pinPath } of plans)
        if (fate !== 'same' || !isPinned(pinPath)) this.#create(btf, name, loadPath);
      pinned.finish(plans);
    } catch (error) {
      if (error instanceof Died) return false;
      throw error;
    }
    this.#btf = btf;
    handOver({ mapsFolder: this.folder, programsFolder: this.programs, build: 'none' });
    return true;
  }

  /** As the loader does, by the object. */
  #create(btf: Btf, name: string, path: string): void {
    const { type, keySize, valueSize, flags } = mapOf(btf, name);
    const codecs = new Codecs(btf);
    const inner = name === 'policy' ? innerMap(codecs) : undefined;
    const options = { type, name, keySize, valueSize, flags, maxEntries: ENTRIES_MAX };
    const map = createMap({ ...options, ...(inner && { innerMapFd: inner.fd }) });
    map.pin(path);
    map.close();
    inner?.close();
  }

  /** Programs and the agent of the release that runs learn something. */
  add(number: number): void {
    const btf = this.#btf;
    if (!btf) return;
    const [a, b] = [`10.0.0.${number}`, `10.0.1.${number}`];
    const ports = { sport: number, dport: 80, proto: 6 };
    const entries = [
      {
        map: 'conntrack',
        key: { a, b, portA: number, portB: 80, proto: 6 },
        value: {
          ...{ expires: number + 9, flags: 6, tcpFlags: [2, 18], srcIdentity: number + 300, dstIdentity: 400 },
          ...{
            policyRevision: [1, 2],
            lastReport: [number, 3],
            created: number,
            backendId: 7,
            revNat: 0,
            proxyPort: 0,
          },
        },
      },
      {
        map: 'nat',
        key: { saddr: a, daddr: b, ...ports, direction: 1 },
        value: { addr: b, port: 1_000 + number, created: number, verified: number + 1 },
      },
      {
        map: 'ipcache',
        key: `${a}/32`,
        value: { identity: 500 + number, tunnelEndpoint: b, encryptKey: 1, flags: 0 },
      },
      {
        map: 'policy',
        key: number,
        value: { precedence: number, cookie: 9, proxyPort: 0, flags: 1, prefixlen: 24 },
      },
    ];
    for (const entry of entries) {
      this.#put(btf, entry);
      this.#entries.push(entry);
    }
  }

  #put(btf: Btf, { map: name, key, value }: { map: string; key: unknown; value: Fields }): void {
    const codecs = new Codecs(btf);
    const map = openPinnedMap(join(this.folder, name));
    if (name === 'policy') {
      const inner = innerMap(codecs);
      inner.put(innerKey(codecs), encode(codecs.struct('policy_entry'), value));
      map.put(idOf(key), inner);
      inner.close();
    } else {
      const codec = codecs.map(name);
      map.put(encode<unknown>(codec.key, key), encode<unknown>(codec.value, value));
    }
    map.close();
  }

  /** What is not as it was. */
  wrong(): string[] {
    const btf = this.#btf;
    if (!btf) return [];
    const codecs = new Codecs(btf);
    return this.#entries.flatMap(({ map: name, key, value }) => {
      const found = this.#read(codecs, name, key);
      return JSON.stringify(found) === JSON.stringify({ ...found, ...value }) && found
        ? []
        : [`${name} ${JSON.stringify(key)}: ${JSON.stringify(found)}, was ${JSON.stringify(value)}`];
    });
  }

  #read(codecs: Codecs, name: string, key: unknown): Fields | undefined {
    const map = openPinnedMap(join(this.folder, name));
    try {
      if (name !== 'policy') {
        const codec = codecs.map(name);
        const bytes = map.get(encode<unknown>(codec.key, key));
        return bytes && (codec.value.read(bytes, 0) as Fields);
      }
      const inner = map.getInner(idOf(key));
      const bytes = inner?.get(innerKey(codecs));
      inner?.close();
      return bytes && codecs.struct('policy_entry').read(bytes, 0);
    } finally {
      map.close();
    }
  }

  close(): void {
    rmSync(join(this.folder, '..'), { recursive: true, force: true });
  }
}

function mapOf(btf: Btf, name: string): Btf['maps'][number] {
  const map = btf.maps.find((one) => one.name === name);
  if (!map) throw new Error(`no map ${name}`);
  return map;
}

function isPinned(path: string): boolean {
  try {
    openPinnedMap(path).close();
    return true;
  } catch {
    return false;
  }
}

function innerMap(codecs: Codecs): ReturnType<typeof createMap> {
  const [keySize, valueSize] = [codecs.struct('policy_key').size, codecs.struct('policy_entry').size];
  return createMap({ type: 'lpm_trie', name: 'policy_inner', keySize, valueSize, maxEntries: INNER_MAX, flags: 1 });
}

const innerKey = (codecs: Codecs): Buffer =>
  encode(codecs.struct('policy_key'), { prefixlen: 64, identity: 5, direction: 0, proto: 6, dport: 80 });

function idOf(key: unknown): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(Number(key));
  return bytes;
}

it('entries of before are there after any starts, however many of them died', () => {
  fc.assert(
    fc.property(history, (starts) => {
      const node = new Node();
      try {
        let number = 0;
        for (const { release, diesAt, adds } of starts) {
          const btf = objects[release]?.btf;
          if (!btf || !node.start(btf, diesAt)) continue;
          expect(node.wrong()).toEqual([]);
          for (let i = 0; i < adds; i++) node.add(++number);
        }
        const last = objects.at(-1)?.btf;
        if (last) expect(node.start(last, null)).toBe(true);
        expect(node.wrong()).toEqual([]);
      } finally {
        node.close();
      }
    }),
    { numRuns: Number(process.env['MAPS_RUNS'] ?? 60) },
  );
}, 120_000);
