/**
 * Pods of another node: what CiliumEndpoints and slices of them say of addresses.
 *
 * - Where several claim one address, the youngest object has it, then the one whose name is first: a pod's address goes to another
 *   pod while the object of the first is still there.
 */
import type { KubeObject } from '../cluster/events.ts';
import { canonicalAddress } from './cidr.ts';
import { reservedIdentities } from './identity.ts';

/** One pod as one object tells it. */
export interface RemotePod {
  /** Address or name of its node, as the object has it. */
  node: string;
  addresses: readonly string[];
  identity: number;
  created: string;
}

/** By object, as `resource/name`; a slice tells of many. */
type PodsBySource = Readonly<Record<string, readonly RemotePod[]>>;

/** Sources that are about one pod, and bear its name. */
const BY_POD = 'ciliumendpoints/';

/**
 * The pods of a node as a value; as JSON it is a record.
 *
 * - Every node knows all pods of the cluster, so they are kept as text: a line for each, which takes some sixty bytes where objects
 *   take ten times as much. A change copies the text, some kilobytes.
 * - A line is the JSON of a list, so that it has no line break within, and a text in it is found by its JSON.
 */
export class RemotePods {
  readonly #lines: string;
  /** What the node was called by its pods; lines have the number. */
  readonly #nodes: readonly string[];

  private constructor(lines: string, nodes: readonly string[]) {
    this.#lines = lines;
    this.#nodes = nodes;
  }

  static readonly none = new RemotePods('\n', []);

  static from(record: PodsBySource): RemotePods {
    return Object.entries(record).reduce((all, [source, pods]) => all.with(source, pods), RemotePods.none);
  }

  isSame(other: RemotePods): boolean {
    return this === other || (this.#lines === other.#lines && this.#nodes.join('\n') === other.#nodes.join('\n'));
  }

  of(source: string): readonly RemotePod[] {
    return [...this.#linesOf(source)].map(([, line]) => this.#podIn(line).pod);
  }

  /** What an object says from now on. */
  with(source: string, pods: readonly RemotePod[]): RemotePods {
    let left = '';
    let from = 0;
    for (const [at, line] of this.#linesOf(source)) {
      left += this.#lines.slice(from, at);
      from = at + line.length;
    }
    const nodes = [...this.#nodes];
    const added = pods.map((pod) => lineOf(source, pod, nodes)).join('');
    const isSame = nodes.length === this.#nodes.length;
    return new RemotePods(flat(left + this.#lines.slice(from) + added), isSame ? this.#nodes : nodes);
  }

  /** In order: what they follow from must not depend on history. */
  addresses(): string[] {
    return [...new Set([...this.#all()].flatMap(({ pod }) => pod.addresses))].sort();
  }

  /** Whose address it is. */
  podAt(address: string): RemotePod | undefined {
    return this.#claimAt(address)?.pod;
  }

  /** `namespace/name` of the pod that has it; empty where a slice says so, which has no names. */
  nameAt(address: string): string {
    const source = this.#claimAt(address)?.source ?? '';
    return source.startsWith(BY_POD) ? source.slice(BY_POD.length) : '';
  }

  #claimAt(address: string): Claim | undefined {
    let found: Claim | undefined;
    for (const [, line] of this.#linesWith(JSON.stringify(address))) {
      const claim = this.#podIn(line);
      if (claim.pod.addresses.includes(address) && (found === undefined || isBetter(claim, found))) found = claim;
    }
    return found;
  }

  /** Those that are on a node with one of these addresses. */
  on(nodes: readonly string[]): RemotePods {
    const all = [...this.#all()];
    const still = all.filter(({ pod }) => nodes.includes(pod.node));
    if (still.length === all.length) return this;
    const names: string[] = [];
    return new RemotePods(flat(`\n${still.map(({ source, pod }) => lineOf(source, pod, names)).join('')}`), names);
  }

  toJSON(): PodsBySource {
    const bySource = new Map<string, RemotePod[]>();
    for (const { source, pod } of this.#all()) bySource.set(source, [...(bySource.get(source) ?? []), pod]);
    return Object.fromEntries([...bySource].sort(([a], [b]) => (a < b ? -1 : 1)));
  }

  #podIn(line: string): Claim {
    return podOfLine(line, this.#nodes);
  }

  *#all(): Generator<Claim> {
    for (const line of this.#lines.split('\n')) if (line !== '') yield this.#podIn(line);
  }

  *#linesOf(source: string): Generator<[at: number, line: string]> {
    for (const [at, line] of this.#linesWith(`\n[${JSON.stringify(shortOf(source))},`, 1)) yield [at, line];
  }

  /** Each line with this text in it, its line break included, and where it begins; the text itself begins `skip` earlier. */
  *#linesWith(text: string, skip = 0): Generator<[at: number, line: string]> {
    const lines = this.#lines;
    for (let found = lines.indexOf(text); found >= 0; ) {
      const at = lines.lastIndexOf('\n', found + skip - 1) + 1;
      const end = lines.indexOf('\n', found + skip) + 1;
      yield [at, lines.slice(at, end)];
      found = lines.indexOf(text, end - skip);
    }
  }
}

interface Claim {
  source: string;
  pod: RemotePod;
}

const isBetter = (a: Claim, b: Claim): boolean =>
  a.pod.created === b.pod.created ? a.source < b.source : a.pod.created > b.pod.created;

/** Names of resources do not begin with it. */
const POD = '~';
const shortOf = (source: string): string => (source.startsWith(BY_POD) ? POD + source.slice(BY_POD.length) : source);
const sourceOf = (short: string): string => (short.startsWith(POD) ? BY_POD + short.slice(POD.length) : short);

/** Seconds since the epoch, where that says the same: a time as the API server writes it. */
function secondsOf(time: string): number | undefined {
  const seconds = Date.parse(time) / 1_000;
  return Number.isInteger(seconds) && timeOf(seconds) === time ? seconds : undefined;
}
const timeOf = (seconds: number): string => `${new Date(seconds * 1_000).toISOString().slice(0, -'.000Z'.length)}Z`;

/** A name that is new is added to `nodes`. */
function lineOf(source: string, { node, addresses, identity, created }: RemotePod, nodes: string[]): string {
  if (!nodes.includes(node)) nodes.push(node);
  const made = created === '' ? [] : [secondsOf(created) ?? created];
  return `${JSON.stringify([shortOf(source), nodes.indexOf(node), addresses, identity, ...made])}\n`;
}

type Line = [source: string, node: number, addresses: readonly string[], identity: number, created?: number | string];

function podOfLine(line: string, nodes: readonly string[]): Claim {
  const [source, node, addresses, identity, made = ''] = JSON.parse(line) as Line;
  const created = typeof made === 'number' ? timeOf(made) : made;
  return { source: sourceOf(source), pod: { node: nodes[node] ?? '', addresses, identity, created } };
}

/** Not pieces of texts of before, which would be kept for it: looking for something in it makes it one. */
function flat(text: string): string {
  text.indexOf('\n');
  return text;
}

interface Networking {
  addressing?: unknown;
  node?: unknown;
}

/** Pods that an object says are on a node with one of these addresses. */
export function podsOn(nodes: readonly string[], object: KubeObject): RemotePod[] {
  const created = object.metadata.creationTimestamp ?? '';
  if (Array.isArray(object['endpoints']))
    return (object['endpoints'] as unknown[]).flatMap((one) => {
      const { id, networking } = (one ?? {}) as { id?: unknown; networking?: Networking };
      return podOn(nodes, networking, id, '');
    });
  const { identity, networking } = (object.status ?? {}) as { identity?: { id?: unknown }; networking?: Networking };
  return podOn(nodes, networking, identity?.id, created);
}

function podOn(
  nodes: readonly string[],
  networking: Networking | undefined,
  id: unknown,
  created: string,
): RemotePod[] {
  if (typeof networking?.node !== 'string' || !nodes.includes(networking.node)) return [];
  const { addressing } = networking;
  const addresses = (Array.isArray(addressing) ? addressing : []).flatMap((pair) => {
    const { ipv4, ipv6 } = (pair ?? {}) as { ipv4?: unknown; ipv6?: unknown };
    return [ipv4, ipv6].flatMap((one) => (typeof one === 'string' ? (canonicalAddress(one) ?? []) : []));
  });
  const isKnown = typeof id === 'number' && Number.isInteger(id) && id > 0;
  // As Cilium takes a pod that has no identity yet.
  const identity = isKnown ? id : (reservedIdentities['unmanaged'] ?? 0);
  return addresses.length > 0 ? [{ node: networking.node, addresses, identity, created }] : [];
}

export const addressesOfPods = (pods: readonly RemotePod[]): string[] => pods.flatMap(({ addresses }) => addresses);

/** Whether two states of an object say the same. */
export const samePods = (a: readonly RemotePod[], b: readonly RemotePod[]): boolean =>
  a.length === b.length &&
  a.every((pod, at) => {
    const other = b[at] as RemotePod;
    return (
      pod.identity === other.identity &&
      pod.node === other.node &&
      pod.created === other.created &&
      pod.addresses.length === other.addresses.length &&
      pod.addresses.every((address, i) => address === other.addresses[i])
    );
  });
