/** Whose rule and whose address: policy objects behind a verdict's cookie, the service behind an address and port. */
import type { Inspector } from '../../reconcilers/inspect.ts';
import type { FrontendRow, PolicyEntryRow } from '../../state/tables.ts';
import type { FlowPolicy } from './types.ts';

/** A cookie that is not known is looked for in all rows, and no more often than this. */
const REFRESH_MS = 500;
const SERVICE_PROTOCOLS = new Set(['TCP', 'UDP', 'SCTP']);

export class Origins {
  readonly #inspector: Inspector;
  readonly #now: () => number;
  #policies = new Map<number, FlowPolicy[]>();
  #refreshedAt = Number.NEGATIVE_INFINITY;

  constructor(inspector: Inspector, now: () => number = Date.now) {
    this.#inspector = inspector;
    this.#now = now;
  }

  policies(cookie: number): FlowPolicy[] {
    if (!this.#policies.has(cookie)) this.#refresh();
    return this.#policies.get(cookie) ?? [];
  }

  service(
    address: string,
    port: number | undefined,
    protocol: string,
  ): { name: string; namespace: string } | undefined {
    const upper = protocol.toUpperCase();
    if (port === undefined || !SERVICE_PROTOCOLS.has(upper)) return undefined;
    const key = `${address.includes(':') ? `[${address}]` : address}:${port}/${upper}`;
    const row = this.#inspector.explain('bpf.frontends', key)?.row.actual as FrontendRow | undefined;
    if (!row) return undefined;
    const slash = row.service.indexOf('/');
    return { name: row.service.slice(slash + 1), namespace: row.service.slice(0, slash) };
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

/** `kind/namespace/name`, or `kind/name` of a cluster-wide one. */
function policyOf(origin: string): FlowPolicy {
  const [kind = '', ...path] = origin.split('/');
  const name = path.at(-1) ?? '';
  const namespace = path.length > 1 ? (path[0] ?? '') : '';
  return { name, namespace, labels: [], revision: 0, kind };
}
