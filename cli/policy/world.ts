/** What a live node knows of policy, fetched once and asked as often as needed; nothing on the node changes by it. */
import { isIP } from 'node:net';
import type { PolicyWorld } from '../../observe/policy.ts';
import type { Change, IdentityLabels, Verdict } from '../../policy/change.ts';
import { apply, cidrIdentityLabels, type PolicyState, prefixes, revive } from '../../policy/resolver.ts';
import { type Direction, entities, type ProtocolName } from '../../policy/rule.ts';
import { verdictOf } from '../../policy/verdict.ts';
import { LongestPrefix } from '../../simulations/packet-model/address.ts';
import { canonical } from '../../state/tables.ts';
import { meant, UsageError } from '../usage.ts';

/** Who is at one end, as far as this node knows. */
export interface End {
  name: string;
  identity: number;
  /** Of this node; undefined: policy for it is not enforced here. */
  endpointId: number | undefined;
}

export const reserved: Readonly<Record<string, number>> = {
  host: 1,
  world: 2,
  unmanaged: 3,
  health: 4,
  init: 5,
  'remote-node': 6,
  'kube-apiserver': 7,
  ingress: 8,
  'world-ipv4': 9,
  'world-ipv6': 10,
};
/** No endpoint and no identity of a cluster has these. */
const IMAGINED_MIN = 0x7fff_0000;

export const endForms = 'a pod as NAMESPACE/NAME, an address, an entity, or labels as k8s:app=web,k8s:tier=front';

export class World {
  readonly facts: PolicyWorld;
  state: PolicyState;
  /** Endpoints of whom something may differ from the world that this one was made of. */
  readonly touched = new Set<number>();
  readonly #ipcache = new LongestPrefix<number>();
  readonly #labels = new Map<number, IdentityLabels>();
  #imagined = IMAGINED_MIN;
  readonly #verdicts = new Map<string, Verdict>();
  readonly #likes = new Map<number, string>();

  constructor(facts: PolicyWorld) {
    this.facts = facts;
    this.state = revive(facts.inputs);
    for (const { cidr, identity } of facts.ipcache) this.#ipcache.set(cidr, identity);
    for (const { identity, labels } of facts.inputs.identities) this.#labels.set(identity, labels);
  }

  labelsOf(identity: number): IdentityLabels {
    return this.#labels.get(identity) ?? {};
  }

  /** The same world with other policies. CIDRs that they name get identities of their own, as on the node. */
  with(changes: readonly Change[]): World {
    const other = new World(this.facts);
    const { state, touched } = apply(this.state, changes);
    const known = new Set(this.facts.ipcache.map(({ cidr }) => cidr));
    const introduced = prefixes(state)
      .filter((cidr) => touched.prefixesAdded.includes(cidr) && !known.has(cidr))
      .map((cidr): Change => {
        const identity = ++other.#imagined;
        other.#ipcache.set(cidr, identity);
        other.#labels.set(identity, cidrIdentityLabels(cidr));
        return { type: 'identity.upserted', identity: { identity, labels: cidrIdentityLabels(cidr) } };
      });
    const last = apply(state, introduced);
    other.state = last.state;
    for (const one of [touched, last.touched])
      for (const id of [...one.enforcement, ...one.groups.keys()]) other.touched.add(id);
    return other;
  }

  /** A pod, an address, an entity or labels. Labels stand for a pod that has them. Undefined: a pod that is not on this node. */
  end(flag: string, text: string): End | undefined {
    if (isIP(text)) return this.address(text);
    const entity = text.replace(/^(entity|reserved):/, '');
    if (Object.hasOwn(reserved, entity)) return this.#entity(entity);
    if (text.includes('=')) return this.#labelled(flag, text);
    const wanted = text.replace(/^pod:/, '');
    if (!wanted.includes('/'))
      throw new UsageError(`flag --${flag} is ${JSON.stringify(text)}, expected ${endForms}${meant(entity, entities)}`);
    const found = this.facts.pods.find(({ pod }) => pod === wanted);
    return found && { name: wanted, identity: found.identity, endpointId: found.endpointId };
  }

  address(text: string): End {
    const pod = this.facts.pods.find(({ addresses }) => addresses.includes(text));
    if (pod) return { name: pod.pod, identity: pod.identity, endpointId: pod.endpointId };
    const found = this.#ipcache.find(text);
    const world = text.includes(':') ? 'world-ipv6' : 'world-ipv4';
    const identity = found ?? (reserved[world] as number);
    return { name: text, identity, endpointId: identity === reserved.host ? this.#hostEndpoint() : undefined };
  }

  #entity(name: string): End {
    const endpointId = name === 'host' ? this.#hostEndpoint() : undefined;
    return { name, identity: reserved[name] as number, endpointId };
  }

  #hostEndpoint(): number | undefined {
    const { inputs, hostEndpoint } = this.facts;
    return inputs.subjects.some(({ endpointId }) => endpointId === hostEndpoint) ? hostEndpoint : undefined;
  }

  #labelled(flag: string, text: string): End {
    const labels: Record<string, string> = { 'k8s:io.cilium.k8s.policy.cluster': this.facts.inputs.config.clusterName };
    for (const part of text.split(',')) {
      const [key = '', value = '', ...more] = part.split('=');
      if (key === '' || more.length > 0)
        throw new UsageError(`flag --${flag}: ${part} is no label, expected KEY=VALUE`);
      labels[key.includes(':') ? key : `k8s:${key}`] = value;
    }
    const number = ++this.#imagined;
    const subject = { endpointId: number, identity: number, labels, namedPorts: [], host: false };
    this.state = apply(this.state, [
      { type: 'identity.upserted', identity: { identity: number, labels } },
      { type: 'subject.upserted', subject },
    ]).state;
    this.#labels.set(number, labels);
    return { name: text, identity: number, endpointId: number };
  }

  /** What the policies of `subject`, an endpoint of this node, make of a peer. */
  ask(direction: Direction, subject: End, peer: End, protocol: ProtocolName, port: number): Verdict | undefined {
    const { endpointId } = subject;
    if (endpointId === undefined) return undefined;
    const key = `${this.#likeOf(endpointId)} ${direction} ${peer.identity} ${port}/${protocol}`;
    const known = this.#verdicts.get(key);
    if (known) return known;
    const said = verdictOf(this.state, { endpointId, direction, identity: peer.identity, protocol, port });
    const isAudited = said.verdict === 'denied' && (this.facts.audited ?? []).includes(endpointId);
    const verdict: Verdict = isAudited ? { ...said, verdict: 'allowed', audited: true } : said;
    this.#verdicts.set(key, verdict);
    return verdict;
  }

  /** The same for all of whom everything is the same. */
  #likeOf(endpointId: number): string {
    if (this.#likes.size === 0)
      for (const { endpointId: id, identity, namedPorts } of this.facts.inputs.subjects)
        this.#likes.set(id, `${identity} ${canonical(namedPorts)} ${(this.facts.audited ?? []).includes(id)}`);
    return this.#likes.get(endpointId) ?? String(endpointId);
  }
}

const protocols: readonly ProtocolName[] = ['TCP', 'UDP', 'SCTP', 'ICMP', 'ICMPv6'];
const PORT_MAX = 65_535;

/** `8080/TCP`, `8080` for TCP, `ICMP/8`. */
export function parsePort(text: string): { protocol: ProtocolName; port: number } {
  const [one = '', other = 'TCP'] = text.split('/');
  const [number, name] = /^\d+$/.test(one) ? [one, other] : [other, one];
  const protocol = protocols.find((known) => known.toLowerCase() === name.toLowerCase());
  const port = Number(number);
  if (protocol === undefined || !/^\d+$/.test(number) || port > PORT_MAX)
    throw new UsageError(`flag --dport is ${JSON.stringify(text)}, expected PORT/PROTOCOL such as 8080/TCP, or ICMP/8`);
  return { protocol, port };
}
