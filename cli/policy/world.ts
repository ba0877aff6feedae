/** What a live node knows of policy, fetched once and asked as often as needed; nothing on the node changes by it. */
import { isIP } from 'node:net';
import type { PolicyWorld } from '../../observe/policy.ts';
import type { Change, IdentityLabels, Verdict } from '../../policy/change.ts';
import { apply, cidrIdentityLabels, type PolicyState, prefixes, revive } from '../../policy/resolver.ts';
import { type Direction, entities, type ProtocolName } from '../../policy/rule.ts';
import { verdictOf } from '../../policy/verdict.ts';
import { LongestPrefix } from '../../simulations/packet-model/address.ts';
import type { DebugClient } from '../output/debug-client.ts';
import { meant, UsageError } from '../usage.ts';

/** Who is at one end, as far as this node knows. */
export interface End {
  name: string;
  identity: number;
  /** Of this node; undefined: policy for it is not enforced here. */
  endpointId: number | undefined;
}

export interface PairVerdict {
  isAllowed: boolean;
  egress: Verdict | undefined;
  ingress: Verdict | undefined;
}

const reserved: Readonly<Record<string, number>> = {
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
  readonly #ipcache = new LongestPrefix<number>();
  readonly #labels = new Map<number, IdentityLabels>();
  #imagined = IMAGINED_MIN;

  constructor(facts: PolicyWorld) {
    this.facts = facts;
    this.state = revive(facts.inputs);
    for (const { cidr, identity } of facts.ipcache) this.#ipcache.set(cidr, identity);
    for (const { identity, labels } of facts.inputs.identities) this.#labels.set(identity, labels);
  }

  static async of(client: DebugClient): Promise<World> {
    return new World(await client.get<PolicyWorld>('/v1/policy/world'));
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
    other.state = introduced.length > 0 ? apply(state, introduced).state : state;
    return other;
  }

  /** A pod, an address, an entity or labels. Labels stand for a pod that has them. */
  end(flag: string, text: string): End {
    if (isIP(text)) return this.address(text);
    const entity = text.replace(/^(entity|reserved):/, '');
    if (Object.hasOwn(reserved, entity)) return this.#entity(entity);
    if (text.includes('=')) return this.#labelled(flag, text);
    const wanted = text.replace(/^pod:/, '');
    if (!wanted.includes('/'))
      throw new UsageError(`flag --${flag} is ${JSON.stringify(text)}, expected ${endForms}${meant(entity, entities)}`);
    const found = this.facts.pods.find(({ pod }) => pod === wanted);
    if (found) return { name: wanted, identity: found.identity, endpointId: found.endpointId };
    const names = this.facts.pods.map(({ pod }) => pod);
    throw new Error(`this node has no pod ${wanted}${meant(wanted, names)}; it has ${names.join(', ') || 'none'}`);
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

  judge(from: End, to: End, protocol: ProtocolName, port: number): PairVerdict {
    const isSelf = from.endpointId !== undefined && from.endpointId === to.endpointId;
    const ask = (direction: Direction, subject: End, peer: End): Verdict | undefined =>
      subject.endpointId === undefined || isSelf
        ? undefined
        : verdictOf(this.state, { endpointId: subject.endpointId, direction, identity: peer.identity, protocol, port });
    const [egress, ingress] = [ask('egress', from, to), ask('ingress', to, from)];
    return { isAllowed: egress?.verdict !== 'denied' && ingress?.verdict !== 'denied', egress, ingress };
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
