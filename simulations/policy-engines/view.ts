/** A cluster as one of its nodes sees it: the resolver's state there, and the identity and an address of whoever is at an end of a flow. */
import type { Change, PolicyEntry, Subject } from '../../policy/change.ts';
import {
  apply,
  cidrIdentityLabels,
  emptyPolicyState,
  enforcement,
  entries,
  identitiesOf,
  type PolicyState,
  prefixes,
} from '../../policy/resolver.ts';
import type { Policy } from '../../policy/rule.ts';
import { LongestPrefix } from '../packet-model/address.ts';
import type { Cluster, Party } from '../policy-oracle/cluster.ts';
import * as inputs from './inputs.ts';
import type { LoadedEndpoint, NodeRows } from './programs.ts';

const { reserved } = inputs;
const LOCAL_SCOPE = 0x0100_0000;
/** For ends that have no address of their own, or none of the family; RFC 2544 and RFC 5180. */
const stand = (family: 4 | 6, number: number): string =>
  family === 4 ? `198.18.${number >> 8}.${number & 255}` : `2001:2::${number.toString(16)}`;
const hostBits = (address: string): number => (address.includes(':') ? 128 : 32);
const familyOf = (address: string): 4 | 6 => (address.includes(':') ? 6 : 4);

export class NodeView {
  readonly state: PolicyState;
  readonly #pods: readonly inputs.PodFacts[];
  readonly #local: readonly Subject[];
  readonly #nodes: readonly inputs.NodeFacts[];
  readonly #node: string;
  readonly #cidrs = new Map<string, number>();
  readonly #cidrIdentities = new LongestPrefix<number>();
  readonly #stands = new Map<string, number>();

  constructor(cluster: Cluster, policies: readonly Policy[], apiServer: readonly string[], node: string) {
    this.#node = node;
    this.#pods = inputs.podsOf(cluster);
    this.#nodes = inputs.nodesOf(cluster);
    const isApi = ({ addresses }: { addresses: readonly string[] }): boolean =>
      addresses.some((one) => apiServer.includes(one));
    const here = this.#nodes.find(({ object }) => object.metadata.name === node);
    this.#local = [
      ...this.#pods.filter((pod) => pod.node === node).map(inputs.subjectOf),
      ...(cluster.hostFirewall ? [inputs.hostSubject(here?.object)] : []),
    ];
    const identities = [
      ...inputs.reservedIdentities(here !== undefined && isApi(here)),
      ...this.#nodes.filter((one) => one !== here).map((one) => inputs.nodeIdentity(one, isApi(one))),
      ...new Map(
        this.#pods.map(({ identity, labels, namedPorts }) => [identity, { identity, labels, namedPorts }]),
      ).values(),
    ];
    const config = {
      enforcement: cluster.enforcement,
      allowLocalhost: true,
      audit: false,
      clusterName: cluster.clusterName,
    };
    const changes: Change[] = [
      ...identities.map((identity): Change => ({ type: 'identity.upserted', identity })),
      ...inputs.servicesOf(cluster).map((service): Change => ({ type: 'service.upserted', service })),
      ...inputs.groupsOf(cluster).map((group): Change => ({ type: 'cidr-group.upserted', group })),
      ...this.#local.map((subject): Change => ({ type: 'subject.upserted', subject })),
      ...policies.map((policy): Change => ({ type: 'policy.upserted', policy })),
    ];
    const first = apply(emptyPolicyState(config), changes).state;
    const waiting = inputs.cidrsThatWait(policies, inputs.groupsOf(cluster), inputs.servicesOf(cluster));
    const outside = apiServer.filter((one) => !this.#nodes.some(({ addresses }) => addresses.includes(one)));
    this.state = apply(first, this.#localIdentities([...prefixes(first), ...waiting], outside)).state;
  }

  /** Prefixes that policies name, and the API server where it is no node. */
  #localIdentities(named: readonly string[], apiServer: readonly string[]): Change[] {
    const extra = apiServer.map((address) => `${address}/${hostBits(address)}`);
    return [...new Set([...named, ...extra])].map((cidr, i): Change => {
      const identity = LOCAL_SCOPE + i + 1;
      this.#cidrs.set(cidr, identity);
      this.#cidrIdentities.set(cidr, identity);
      const labels = cidrIdentityLabels(cidr);
      const isApiServer = extra.includes(cidr);
      return {
        type: 'identity.upserted',
        identity: { identity, labels: isApiServer ? { ...labels, 'reserved:kube-apiserver': '' } : labels },
      };
    });
  }

  /** Undefined: nobody here enforces policy for it. */
  endpointOf(party: Party): number | undefined {
    if (party.kind === 'outside') return undefined;
    if (party.kind === 'node') return this.#local.find(({ host }) => host)?.endpointId;
    return this.#podOf(party)?.endpointId;
  }

  identityOf(party: Party): number {
    switch (party.kind) {
      case 'pod':
        return this.#podOf(party)?.identity ?? 0;
      case 'node': {
        if (party.node === this.#node) return reserved.host;
        const found = this.#nodes.find(({ object }) => object.metadata.name === party.node);
        return found?.identity ?? (party.isApiServer ? reserved.apiServer : reserved.remoteNode);
      }
      case 'outside': {
        const world = party.family === 4 ? reserved.worldV4 : reserved.worldV6;
        return party.address ? (this.#cidrIdentities.find(party.address) ?? world) : world;
      }
    }
  }

  /** Undefined: it has none of this family. */
  addressOf(party: Party, family: 4 | 6): string | undefined {
    if (party.kind === 'outside') {
      if (party.family !== family) return undefined;
      if (party.address) return party.address;
    }
    const known =
      party.kind === 'pod'
        ? this.#podOf(party)?.addresses
        : party.kind === 'node'
          ? this.#addressesOfNode(party.node)
          : [];
    return known?.find((one) => familyOf(one) === family) ?? this.#standIn(party, family);
  }

  #addressesOfNode(name: string): readonly string[] {
    return this.#nodes.find(({ object }) => object.metadata.name === name)?.addresses ?? [];
  }

  #standIn(party: Party, family: 4 | 6): string {
    const name =
      party.kind === 'pod'
        ? `pod ${party.pod.metadata.namespace}/${party.pod.metadata.name}`
        : party.kind === 'node'
          ? `node ${party.node} ${party.isApiServer}`
          : 'world';
    const number = this.#stands.get(name) ?? this.#stands.size + 1;
    this.#stands.set(name, number);
    return stand(family, number);
  }

  #podOf({ pod }: Extract<Party, { kind: 'pod' }>): inputs.PodFacts | undefined {
    return this.#pods.find(({ object }) => object === pod);
  }

  entriesOf(endpointId: number): PolicyEntry[] {
    return identitiesOf(this.state, endpointId).flatMap((identity) => entries(this.state, endpointId, identity));
  }

  /** What the programs need to judge these ends. */
  rows(ends: readonly Party[]): NodeRows {
    const both = (party: Party): string[] => ([4, 6] as const).flatMap((family) => this.addressOf(party, family) ?? []);
    const parties = [
      ...this.#pods.map(({ object }) => ends.find((one) => one.kind === 'pod' && one.pod === object)),
      ...ends,
    ].filter((one) => one !== undefined);
    const ipcache = new Map<string, number>(this.#cidrs);
    for (const party of parties) {
      if (party.kind === 'outside' && party.address) continue;
      for (const address of both(party)) ipcache.set(`${address}/${hostBits(address)}`, this.identityOf(party));
    }
    const endpoints = parties.flatMap((party): LoadedEndpoint[] => {
      const pod = party.kind === 'pod' && party.node === this.#node ? this.#podOf(party) : undefined;
      if (!pod) return [];
      const { endpointId: id, identity } = pod;
      return [
        { id, identity, addresses: both(party), enforcement: enforcement(this.state, id), entries: this.entriesOf(id) },
      ];
    });
    return { endpoints: [...new Map(endpoints.map((one) => [one.id, one])).values()], ipcache };
  }
}
