/** Whose rule and whose address: policy objects behind a verdict's cookie, the service behind an address and port. */
import type { Subscription } from 'rxjs';
import { parseAddress } from '../../datapath/address.ts';
import type { Inspector } from '../../reconcilers/inspect.ts';
import type { FrontendRow, PolicyEntryRow } from '../../state/tables.ts';
import type { FlowPolicy } from './types.ts';

/** A cookie that is not known is looked for in all rows, and no more often than this. */
const REFRESH_MS = 500;
const PROTOCOLS: Readonly<Record<string, number>> = { TCP: 6, UDP: 17, SCTP: 132 };

export interface ServiceName {
  name: string;
  namespace: string;
}

/** `address:port/PROTOCOL`, `[address]:port/PROTOCOL`: key of a frontend. */
const FRONTEND = /^\[?([0-9a-f.:]+?)\]?:(\d+)\/(\w+)$/;
const endKey = (proto: number, port: number): number => proto * 65_536 + port;

/** An address as the key of a map: its 4 or 16 bytes, one character each. */
export const addressKey = (address: string): string => parseAddress(address).toString('latin1');

/**
 * - Frontends are indexed by their bytes, as events have them: the index follows the rows one by one.
 */
export class Origins {
  readonly #inspector: Inspector;
  readonly #now: () => number;
  #policies = new Map<number, FlowPolicy[]>();
  #refreshedAt = Number.NEGATIVE_INFINITY;
  /** By address and then by `endKey`; undefined until somebody asks. */
  #frontends: Map<string, Map<number, ServiceName>> | undefined;
  #following: Subscription | undefined;

  constructor(inspector: Inspector, now: () => number = Date.now) {
    this.#inspector = inspector;
    this.#now = now;
  }

  policies(cookie: number): FlowPolicy[] {
    if (!this.#policies.has(cookie)) this.#refresh();
    return this.#policies.get(cookie) ?? [];
  }

  close(): void {
    this.#following?.unsubscribe();
  }

  service(address: string, port: number | undefined, protocol: string): ServiceName | undefined {
    const proto = PROTOCOLS[protocol.toUpperCase()];
    if (port === undefined || proto === undefined || address === '') return undefined;
    return this.serviceAt(addressKey(address), port, proto);
  }

  /** `address` as `addressKey` makes it. */
  serviceAt(address: string, port: number, proto: number): ServiceName | undefined {
    this.#frontends ??= this.#index();
    return this.#frontends.get(address)?.get(endKey(proto, port));
  }

  #index(): Map<string, Map<number, ServiceName>> {
    const index = new Map<string, Map<number, ServiceName>>();
    for (const { key, actual } of this.#inspector.rows('bpf.frontends')) learn(index, key, actual);
    this.#following = this.#inspector.ops$.subscribe(({ table, key, doneAt }) => {
      if (table === 'bpf.frontends' && doneAt !== undefined)
        learn(index, key, this.#inspector.explain('bpf.frontends', key)?.row.actual);
    });
    return index;
  }

  #refresh(): void {
    const now = this.#now();
    if (now - this.#refreshedAt < REFRESH_MS) return;
    this.#refreshedAt = now;
    this.#policies = new Map();
    for (const { actual } of this.#inspector.rows('bpf.policy')) {
      const entry = actual as PolicyEntryRow | undefined;
      if (entry) this.#policies.set(entry.cookie, entry.origins.map(policyOf));
    }
  }
}

function learn(index: Map<string, Map<number, ServiceName>>, key: string, row: unknown): void {
  const [, address = '', port, protocol = ''] = FRONTEND.exec(key) ?? [];
  const proto = PROTOCOLS[protocol];
  if (proto === undefined) return;
  const at = addressKey(address);
  const ends = index.get(at) ?? new Map<number, ServiceName>();
  const service = (row as FrontendRow | undefined)?.service;
  if (service === undefined) ends.delete(endKey(proto, Number(port)));
  else {
    const slash = service.indexOf('/');
    ends.set(endKey(proto, Number(port)), { name: service.slice(slash + 1), namespace: service.slice(0, slash) });
  }
  if (ends.size > 0) index.set(at, ends);
  else index.delete(at);
}

/** `kind/namespace/name`, or `kind/name` of a cluster-wide one. */
function policyOf(origin: string): FlowPolicy {
  const [kind = '', ...path] = origin.split('/');
  const name = path.at(-1) ?? '';
  const namespace = path.length > 1 ? (path[0] ?? '') : '';
  return { name, namespace, labels: [], revision: 0, kind };
}
