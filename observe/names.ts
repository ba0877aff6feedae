/**
 * Names for addresses and identities, as the engine knows them: pods of this node, label sets, reserved identities.
 *
 * - A look-up never walks the machines, unless they changed since the last look-up, and then at most every REFRESH_MS.
 */
import type { EndpointContext } from '../machines/endpoint-context.ts';
import { reservedIdentities } from '../machines/identity.ts';
import type { Inspector } from '../reconcilers/inspect.ts';
import type { IpcacheRow } from '../state/tables.ts';

export interface EndName {
  /** `namespace/name`; '' when the address is no pod of this node. */
  pod: string;
  identity: number;
  /** Sorted `source:key=value`. */
  labels: string[];
}

const REFRESH_MS = 500;
/** A pod that is not known yet is worth a look before that. */
const MISS_REFRESH_MS = 20;
/** Identities below are reserved. */
const DYNAMIC_MIN = 256;
const hostLength = (address: string): number => (address.includes(':') ? 128 : 32);

const reservedNames: ReadonlyMap<number, string> = new Map(
  Object.entries(reservedIdentities).map(([name, id]) => [id, name]),
);

/** Undefined: not a reserved one. */
export const reservedName = (identity: number): string | undefined => reservedNames.get(identity);
/** `host`, `world`, …; a number without a name is its text. */
export const identityName = (identity: number): string => reservedNames.get(identity) ?? String(identity);

export class Names {
  readonly #inspector: Inspector;
  readonly #now: () => number;
  #pods = new Map<string, EndName>();
  #endpointIds = new Map<string, number>();
  #labels = new Map<number, string[]>();
  #isStale = true;
  #refreshedAt = Number.NEGATIVE_INFINITY;
  readonly #stop: () => void;

  constructor(inspector: Inspector, now: () => number = Date.now) {
    this.#inspector = inspector;
    this.#now = now;
    const subscription = inspector.transitions$.subscribe(() => {
      this.#isStale = true;
    });
    this.#stop = () => subscription.unsubscribe();
  }

  close(): void {
    this.#stop();
  }

  /** `hint`: the identity that the datapath saw. */
  of(address: string, hint = 0): EndName {
    this.#refresh();
    if (hint >= DYNAMIC_MIN && !this.#pods.has(address)) this.#refresh(MISS_REFRESH_MS);
    const known = this.#pods.get(address);
    if (known)
      return hint > 0 && hint !== known.identity ? { ...known, identity: hint, labels: this.labelsOf(hint) } : known;
    const identity = hint || this.#cached(address);
    return { pod: '', identity, labels: this.labelsOf(identity) };
  }

  /** 0: no endpoint of this node has the address. */
  endpointIdOf(address: string): number {
    this.#refresh();
    return this.#endpointIds.get(address) ?? 0;
  }

  labelsOf(identity: number): string[] {
    this.#refresh();
    const reserved = reservedNames.get(identity);
    return reserved ? [`reserved:${reserved}`] : (this.#labels.get(identity) ?? []);
  }

  #cached(address: string): number {
    if (address === '') return 0;
    const row = this.#inspector.explain('bpf.ipcache', `${address}/${hostLength(address)}`)?.row.actual as
      | IpcacheRow
      | undefined;
    return row?.identity ?? 0;
  }

  #refresh(patienceMs = REFRESH_MS): void {
    const now = this.#now();
    if (!this.#isStale || now - this.#refreshedAt < patienceMs) return;
    this.#isStale = false;
    this.#refreshedAt = now;
    this.#pods = new Map();
    this.#endpointIds = new Map();
    this.#labels = new Map();
    for (const context of this.#inspector.contexts('identity'))
      this.#learnIdentity(context as { text: string; numbers: number[] });
    for (const context of this.#inspector.contexts('endpoint')) {
      const { podNamespace, podName, identity, labels, ipv4, ipv6, endpointId } = context as EndpointContext;
      if (identity > 0 && labels.length > 0) this.#labels.set(identity, labels);
      const name = { pod: `${podNamespace}/${podName}`, identity, labels };
      for (const address of [ipv4, ipv6]) {
        if (!address) continue;
        this.#pods.set(address, name);
        this.#endpointIds.set(address, endpointId);
      }
    }
  }

  #learnIdentity({ text, numbers }: { text: string; numbers: number[] }): void {
    for (const number of numbers) this.#labels.set(number, text.split(';').filter(Boolean));
  }
}
