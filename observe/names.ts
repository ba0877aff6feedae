/**
 * Names for addresses and identities, as the engine knows them: pods of this node, label sets, reserved identities.
 *
 * - A look-up never walks the machines, unless they changed since the last look-up, and then at most every REFRESH_MS.
 */
import type { EndpointContext } from '../machines/endpoint-context.ts';
import { reservedIdentities } from '../machines/identity.ts';
import { type PolicyContext, stateOf } from '../machines/policy-context.ts';
import { podsIn, type RemoteNodeContext, remoteNodeKey } from '../machines/remote-node-context.ts';
import type { Inspector } from '../reconcilers/inspect.ts';
import type { IpcacheRow } from '../state/tables.ts';

export interface EndName {
  /** `namespace/name`; '' when the address is no pod's. */
  pod: string;
  identity: number;
  /** Sorted `source:key=value`. */
  labels: string[];
}

const REMOTE_NODE = remoteNodeKey('');
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
  /** An address behind each link. */
  #behind = new Map<string, string>();
  #labels = new Map<number, string[]>();
  /** Addresses that are no pod's of this node. */
  #others = new Map<string, { pod: string; identity: number }>();
  #isStale = true;
  #generation = 0;
  #refreshedAt = Number.NEGATIVE_INFINITY;
  readonly #stop: () => void;

  constructor(inspector: Inspector, now: () => number = Date.now) {
    this.#inspector = inspector;
    this.#now = now;
    const transitions = inspector.transitions$.subscribe(() => {
      this.#isStale = true;
    });
    const ops = inspector.ops$.subscribe(({ table, key }) => {
      if (table === 'bpf.ipcache' && this.#others.delete(key.slice(0, key.indexOf('/')))) this.#generation++;
    });
    this.#stop = () => {
      transitions.unsubscribe();
      ops.unsubscribe();
    };
  }

  close(): void {
    this.#stop();
  }

  /** Another number when anything may be called otherwise than before; brings names up to date as any look-up does. */
  generation(): number {
    this.#refresh();
    return this.#generation;
  }

  /** `hint`: the identity that the datapath saw. */
  of(address: string, hint = 0): EndName {
    this.#refresh();
    if (hint >= DYNAMIC_MIN && !this.#pods.has(address)) this.#refresh(MISS_REFRESH_MS);
    const known = this.#pods.get(address);
    if (known)
      return hint > 0 && hint !== known.identity ? { ...known, identity: hint, labels: this.labelsOf(hint) } : known;
    const other = this.#elsewhere(address);
    const identity = hint || other.identity;
    return { pod: other.pod, identity, labels: this.labelsOf(identity) };
  }

  /** 0: no endpoint of this node has the address. */
  endpointIdOf(address: string): number {
    this.#refresh();
    return this.#endpointIds.get(address) ?? 0;
  }

  /** An address of the endpoint behind a link; '': there is none. */
  addressBehind(link: string): string {
    this.#refresh();
    return this.#behind.get(link) ?? '';
  }

  labelsOf(identity: number): string[] {
    this.#refresh();
    const reserved = reservedNames.get(identity);
    if (reserved) return [`reserved:${reserved}`];
    const known = this.#labels.get(identity) ?? this.#labelsOfPeer(identity);
    if (known.length > 0) this.#labels.set(identity, known);
    return known;
  }

  /** Of pods of other nodes, and of CIDRs. */
  #labelsOfPeer(identity: number): string[] {
    const [policy] = this.#inspector.contexts('policy') as PolicyContext[];
    const labels = policy && stateOf(policy).tables.identities.get(identity)?.identity.labels;
    return Object.entries(labels ?? {})
      .map(([label, value]) => (value === '' && !label.startsWith('k8s:') ? label : `${label}=${value}`))
      .sort();
  }

  /** What the ipcache says of an address, and whose machine it was that said so. */
  #elsewhere(address: string): { pod: string; identity: number } {
    const known = this.#others.get(address);
    if (known) return known;
    if (address === '') return { pod: '', identity: 0 };
    const row = this.#inspector.explain('bpf.ipcache', `${address}/${hostLength(address)}`)?.row;
    const { identity = 0 } = (row?.actual ?? {}) as Partial<IpcacheRow>;
    const owner = row?.owners[0] ?? '';
    const context = owner.startsWith(REMOTE_NODE) && this.#inspector.machine(owner)?.context;
    const pod = context ? podsIn(context as RemoteNodeContext).nameAt(address) : '';
    const found = { pod, identity };
    this.#others.set(address, found);
    return found;
  }

  #refresh(patienceMs = REFRESH_MS): void {
    const now = this.#now();
    if (!this.#isStale || now - this.#refreshedAt < patienceMs) return;
    this.#isStale = false;
    this.#generation++;
    this.#refreshedAt = now;
    this.#pods = new Map();
    this.#endpointIds = new Map();
    this.#behind = new Map();
    this.#labels = new Map();
    this.#others = new Map();
    for (const context of this.#inspector.contexts('identity'))
      this.#learnIdentity(context as { text: string; numbers: number[] });
    for (const context of this.#inspector.contexts('endpoint')) {
      const { podNamespace, podName, identity, labels, ipv4, ipv6, endpointId, link } = context as EndpointContext;
      if (identity > 0 && labels.length > 0) this.#labels.set(identity, labels);
      const reserved = reservedNames.get(identity);
      const known = reserved ? [`reserved:${reserved}`] : labels;
      const name = { pod: podName && `${podNamespace}/${podName}`, identity, labels: known };
      for (const address of [ipv4, ipv6]) {
        if (!address) continue;
        this.#pods.set(address, name);
        this.#endpointIds.set(address, endpointId);
        this.#behind.set(link, address);
      }
    }
  }

  #learnIdentity({ text, numbers }: { text: string; numbers: number[] }): void {
    for (const number of numbers) this.#labels.set(number, text.split(';').filter(Boolean));
  }
}
