/**
 * Policy of all nodes that can be asked: each end of a flow is judged by the node that it is on.
 *
 * - An end is seen by every node; only its own has it as an endpoint. `host` is on all of them, and means the node of the pod at the other end.
 */
import type { PolicyWorld } from '../../observe/policy.ts';
import type { Change, IdentityLabels, NamedPort, Verdict } from '../../policy/change.ts';
import type { Direction, Policy, ProtocolName } from '../../policy/rule.ts';
import type { NodeClient } from '../output/debug-target.ts';
import { meant } from '../usage.ts';
import { type End, reserved, World } from './world.ts';

export interface ClusterEnd {
  name: string;
  /** As each node sees it. */
  seen: readonly End[];
}

export interface PairVerdict {
  isAllowed: boolean;
  /** Undefined: none of the nodes that were asked has that end, or it talks to itself. */
  egress: Verdict | undefined;
  ingress: Verdict | undefined;
}

export class ClusterWorld {
  readonly nodes: readonly string[];
  readonly worlds: readonly World[];

  private constructor(nodes: readonly string[], worlds: readonly World[]) {
    this.nodes = nodes;
    this.worlds = worlds;
  }

  static async of(clients: readonly NodeClient[]): Promise<ClusterWorld> {
    const facts = await Promise.all(clients.map(({ client }) => client.get<PolicyWorld>('/v1/policy/world')));
    return new ClusterWorld(
      clients.map(({ node }) => node),
      facts.map((one) => new World(one)),
    );
  }

  /** The same cluster with other policies. */
  with(changes: readonly Change[]): ClusterWorld {
    return new ClusterWorld(
      this.nodes,
      this.worlds.map((world) => world.with(changes)),
    );
  }

  pods(): string[] {
    return [...new Set(this.worlds.flatMap(({ facts }) => facts.pods.map(({ pod }) => pod)))].sort();
  }

  /** In force. */
  policies(): Policy[] {
    return [
      ...new Map(this.worlds.flatMap(({ facts }) => facts.inputs.policies.map((one) => [one.key, one]))).values(),
    ];
  }

  hasOtherNodes(): boolean {
    return this.worlds.some(({ facts }) => facts.ipcache.some(({ identity }) => identity === reserved['remote-node']));
  }

  namedPorts(): NamedPort[] {
    return this.worlds.flatMap(({ facts }) => facts.inputs.subjects.flatMap(({ namedPorts }) => namedPorts));
  }

  /** A pod, an address, an entity or labels. */
  end(flag: string, text: string): ClusterEnd {
    const found = this.worlds.map((world) => world.end(flag, text));
    const known = found.find((one) => one !== undefined);
    if (!known) {
      const names = this.pods();
      const none = this.worlds.length > 1 ? 'no node has a' : 'this node has no';
      throw new Error(`${none} pod ${text}${meant(text, names) || ';'} there are ${names.join(', ') || 'none'}`);
    }
    const { name, identity } = known;
    return { name, seen: found.map((one) => one ?? { name, identity, endpointId: undefined }) };
  }

  address(text: string): ClusterEnd {
    const seen = this.worlds.map((world) => world.address(text));
    const name = seen.find(({ endpointId }) => endpointId !== undefined)?.name ?? text;
    return { name, seen };
  }

  /** Where `one` is an endpoint, and if several have it, one where `other` is too. */
  homeOf(one: ClusterEnd, other: ClusterEnd): number | undefined {
    let first: number | undefined;
    for (let i = 0; i < one.seen.length; i++) {
      if (one.seen[i]?.endpointId === undefined) continue;
      if (other.seen[i]?.endpointId !== undefined) return i;
      first ??= i;
    }
    return first;
  }

  judge(from: ClusterEnd, to: ClusterEnd, protocol: ProtocolName, port: number): PairVerdict {
    const ask = (direction: Direction, subject: ClusterEnd, peer: ClusterEnd): Verdict | undefined => {
      const home = this.homeOf(subject, peer);
      const [one, other] = [subject.seen[home ?? 0], peer.seen[home ?? 0]];
      if (home === undefined || !one || !other || one.endpointId === other.endpointId) return undefined;
      return this.worlds[home]?.ask(direction, one, other, protocol, port);
    };
    const [egress, ingress] = [ask('egress', from, to), ask('ingress', to, from)];
    return { isAllowed: egress?.verdict !== 'denied' && ingress?.verdict !== 'denied', egress, ingress };
  }

  /** Something about it may differ from the cluster that this one was made of. */
  isTouched({ seen }: ClusterEnd): boolean {
    return seen.some(({ endpointId }, i) => endpointId !== undefined && this.worlds[i]?.touched.has(endpointId));
  }

  labelsOf(end: ClusterEnd): IdentityLabels {
    return this.worlds[this.#shown(end)]?.labelsOf(this.shown(end).identity) ?? {};
  }

  /** As its own node sees it. */
  shown(end: ClusterEnd): End & { node: string } {
    const at = this.#shown(end);
    return { ...(end.seen[at] as End), node: end.seen[at]?.endpointId === undefined ? '' : (this.nodes[at] ?? '') };
  }

  #shown(end: ClusterEnd): number {
    return this.homeOf(end, end) ?? 0;
  }
}

export const isLocal = ({ seen }: ClusterEnd): boolean => seen.some(({ endpointId }) => endpointId !== undefined);
