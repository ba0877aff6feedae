/**
 * Tables `bpf.policy-maps` and `bpf.policy`: the inner maps of `policy`, one for each endpoint, and their entries.
 *
 * - What a map holds of `origins` is their cookie; what a cookie stands for is known from the rows that were put or are believed there.
 * - After an apply that took something away the node's revision is raised once: every connection is checked again.
 * - A full map refuses the entry and keeps all that it has. When a denial fails, allowances of its endpoint that come after do too.
 */
import { setImmediate } from 'node:timers/promises';
import { type BpfMap, type Btf, isErrno } from '../../native/index.ts';
import type { PolicyEntryRow } from '../../state/tables.ts';
import { type Codec, Codecs, type Fields } from '../codec.ts';
import type { Driver, Op, OpResult } from '../driver.ts';
import { attempt, driverError, kernelError, opName } from '../errors.ts';
import { type PolicyPlace, parsePolicyKey, prefixBits, readPolicyKey, writePolicyKey } from '../policy-key.ts';
import { applyMaps, full, u32 } from './policy-maps.ts';

/** Read before the event loop gets a turn. */
const CHUNK_ENTRIES = 4096;
const DENY = 1;

export interface PolicyDriverOptions {
  policy: BpfMap;
  revision: BpfMap;
  btf: Btf;
}

interface Encoded {
  at: number;
  op: Op;
  key: Buffer;
  value: Buffer;
}

export class PolicyDriver implements Driver {
  readonly tables = ['bpf.policy-maps', 'bpf.policy'] as const;
  readonly lane = 'kernel';
  readonly #policy: BpfMap;
  readonly #revision: BpfMap;
  readonly #key: Codec<Fields>;
  readonly #entry: Codec<Fields>;
  /** By cookie. */
  #origins = new Map<number, readonly string[]>();

  constructor({ policy, revision, btf }: PolicyDriverOptions) {
    this.#policy = policy;
    this.#revision = revision;
    const codecs = new Codecs(btf);
    this.#key = codecs.struct('policy_key');
    this.#entry = codecs.struct('policy_entry');
  }

  apply(ops: readonly Op[]): OpResult[] | Promise<OpResult[]> {
    const [first] = ops;
    if (!first) return [];
    if (first.table === 'bpf.policy-maps') {
      const results = applyMaps(this.#policy, { keySize: this.#key.size, valueSize: this.#entry.size }, ops);
      if (first.action === 'delete') this.#raiseRevision();
      return results;
    }
    return this.#applyEntries(ops);
  }

  // --- entries

  /** The caller closes it. */
  #inner(endpointId: number): BpfMap | undefined {
    return this.#policy.getInner(u32(endpointId));
  }

  async #applyEntries(ops: readonly Op[]): Promise<OpResult[]> {
    const results: OpResult[] = ops.map(() => undefined);
    const byEndpoint = new Map<number, Encoded[]>();
    ops.forEach((op, at) => {
      results[at] = attempt(op, () => {
        const place = parsePolicyKey(op.key);
        const known = byEndpoint.get(place.endpointId);
        const encoded = this.#encode(at, op, place);
        if (known) known.push(encoded);
        else byEndpoint.set(place.endpointId, [encoded]);
        return undefined;
      });
    });
    let since = 0;
    for (const [endpointId, encoded] of byEndpoint) {
      this.#applyTo(endpointId, encoded, results);
      since += encoded.length;
      if (since < CHUNK_ENTRIES) continue;
      since = 0;
      await setImmediate();
    }
    if (ops.some((op, i) => !results[i] && takesAway(op))) this.#raiseRevision();
    return results;
  }

  #encode(at: number, op: Op, place: PolicyPlace): Encoded {
    const key = Buffer.alloc(this.#key.size);
    writePolicyKey(this.#key, place, key, 0);
    const value = Buffer.alloc(op.action === 'put' ? this.#entry.size : 0);
    if (op.action === 'put') {
      const { deny, precedence, cookie, origins } = op.value as PolicyEntryRow;
      this.#origins.set(cookie, origins);
      const flags = deny ? DENY : 0;
      this.#entry.write({ precedence, cookie, proxyPort: 0, flags, prefixlen: prefixBits(place) }, value, 0);
    }
    return { at, op, key, value };
  }

  #applyTo(endpointId: number, encoded: readonly Encoded[], results: OpResult[]): void {
    const inner = this.#inner(endpointId);
    try {
      for (const { at, op } of inner ? [] : encoded) {
        // It comes with its row of bpf.policy-maps; what is to be deleted went with it.
        if (op.action === 'put')
          results[at] = kernelError('ENOENT', `${opName(op)}: endpoint ${endpointId} has no policy map`, true);
      }
      if (inner) applyAll(inner, endpointId, encoded, results);
    } finally {
      inner?.close();
    }
  }

  #raiseRevision(): void {
    const now = this.#revision.get(u32(0))?.readUInt32LE(0) ?? 0;
    this.#revision.put(u32(0), u32((now + 1) >>> 0));
  }

  // --- what is there

  async dump(table: string, known: ReadonlyMap<string, unknown>): Promise<Map<string, unknown>> {
    const found = new Map<string, unknown>();
    if (table === 'bpf.policy') {
      for (const row of known.values()) {
        const { cookie, origins } = row as PolicyEntryRow;
        if (!this.#origins.has(cookie)) this.#origins.set(cookie, origins);
      }
    }
    for (const idBytes of this.#policy.keys()) {
      const endpointId = idBytes.readUInt32LE(0);
      const inner = this.#inner(endpointId);
      if (!inner) continue;
      try {
        if (table === 'bpf.policy-maps') found.set(String(endpointId), { entriesMax: inner.info.maxEntries });
        else await this.#dumpEntries(inner, endpointId, found);
      } finally {
        inner.close();
      }
    }
    if (table === 'bpf.policy') this.#forgetOrigins(found);
    return found;
  }

  async #dumpEntries(inner: BpfMap, endpointId: number, found: Map<string, unknown>): Promise<void> {
    const { keySize, valueBytes } = inner.info;
    for (const { keys, values, count } of inner.chunks(CHUNK_ENTRIES)) {
      for (let i = 0; i < count; i++) {
        const key = readPolicyKey(this.#key, endpointId, keys, i * keySize);
        found.set(key, this.#row(values, i * valueBytes));
      }
      await setImmediate();
    }
  }

  #row(from: Buffer, offset: number): PolicyEntryRow {
    const fields = this.#entry.read(from, offset) as Record<'precedence' | 'cookie' | 'flags', number>;
    const { precedence, cookie, flags } = fields;
    return { deny: (flags & DENY) !== 0, precedence, cookie, origins: [...(this.#origins.get(cookie) ?? [])] };
  }

  /** Of what no entry bears any more. */
  #forgetOrigins(found: ReadonlyMap<string, unknown>): void {
    const cookies = new Set([...found.values()].map((row) => (row as PolicyEntryRow).cookie));
    this.#origins = new Map([...this.#origins].filter(([cookie]) => cookies.has(cookie)));
  }
}

function applyAll(inner: BpfMap, endpointId: number, encoded: readonly Encoded[], results: OpResult[]): void {
  const isPut = encoded[0]?.op.action === 'put';
  if (encoded.length > 1) {
    try {
      const keys = Buffer.concat(encoded.map(({ key }) => key));
      if (isPut) inner.putBatch(keys, Buffer.concat(encoded.map(({ value }) => value)), encoded.length);
      else inner.deleteBatch(keys, encoded.length);
      return;
    } catch {
      // Which one failed is found out below; writing or deleting an entry again changes nothing.
    }
  }
  let denialFailed = false;
  for (const { at, op, key, value } of encoded) {
    if (denialFailed && isPut && !isDenial(op)) {
      results[at] = kernelError('ECANCELED', `${opName(op)}: a denial of endpoint ${endpointId} failed`, true);
      continue;
    }
    try {
      if (isPut) inner.put(key, value);
      else inner.delete(key);
    } catch (error) {
      results[at] = isErrno(error, 'ENOSPC', 'E2BIG')
        ? full(op, error.code, inner.info.maxEntries, 'this entry does not fit')
        : driverError(error, opName(op));
      denialFailed ||= isPut && isDenial(op);
    }
  }
}

const isDenial = ({ value }: Op): boolean => (value as PolicyEntryRow | undefined)?.deny === true;

/** A connection that was allowed may be so no longer: an entry goes, denies, or is another than before. */
const takesAway = ({ action, value, before }: Op): boolean =>
  action === 'delete' || before !== undefined || (value as PolicyEntryRow).deny;
