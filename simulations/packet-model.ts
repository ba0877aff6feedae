/**
 * The datapath as an executable specification: rows, connections and a packet give verdict, rewrite and next hop.
 *
 * - Written from what the datapath promises (reference/datapath.md, policy-semantics.md, bpf/lib/structs.h), so that the programs can
 *   be held against it, policy be asked without a kernel, and every prefix of a plan be judged.
 * - Time stands still: what expires is taken away by whoever asks. Chance is passed in.
 */
import type { EndpointRow, NetdevRow } from '../state/tables.ts';
import { isMulticast, isV6 } from './packet-model/address.ts';
import { alone, Between, type BetweenConfig, type TunnelKey } from './packet-model/between.ts';
import { type Connection, type ConnectionState, Connections } from './packet-model/conntrack.ts';
import { type ChoosePort, Nat, natPorts } from './packet-model/nat.ts';
import {
  hasPorts,
  isFragmentationNeeded,
  isIcmp,
  isIcmpError,
  type Packet,
  policyPort,
} from './packet-model/packet.ts';
import { type Direction, lookup } from './packet-model/policy.ts';
import {
  type Choose,
  type Selection,
  type ServiceConfig,
  type ServiceFlow,
  Services,
} from './packet-model/services.ts';
import type { ModelTables } from './packet-model/tables.ts';

export type { Packet, Tuple } from './packet-model/packet.ts';
export { type AnyRow, ModelTables } from './packet-model/tables.ts';

export interface ModelConfig extends ServiceConfig {
  ipv4: boolean;
  ipv6: boolean;
  /** The node reaches its pods whatever their ingress policy does not say. */
  allowLocalhost: boolean;
  allowFragmentationNeeded: boolean;
  services: boolean;
  between: BetweenConfig;
}

export const usualConfig: ModelConfig = {
  ipv4: true,
  ipv6: true,
  allowLocalhost: true,
  allowFragmentationNeeded: true,
  services: true,
  reject: true,
  externalClusterIP: false,
  loopback: { ipv4: '169.254.42.1', ipv6: '64:ff9b:1::a9fe:2a01' },
  between: alone,
};

/** Where a packet is met: by a program at a link of the node. */
export interface Place {
  program: 'from_endpoint' | 'to_endpoint' | 'from_netdev' | 'to_netdev' | 'from_overlay' | 'from_host';
  link: string;
  /** What the packet came wrapped with; at from_overlay. */
  tunnel?: TunnelKey;
}

export type Outcome =
  | { verdict: 'drop'; reason: string }
  /** Dropped, and the sender is told so in the name of where it went: reset, or port unreachable. `unheard`: why that does not leave either. */
  | { verdict: 'refuse'; reason: string; unheard?: string }
  /** `to`: the stack decides, the pod behind a link, a device as routes say, or another node by way of `tunnel` or WireGuard. */
  | {
      verdict: 'pass' | 'redirect';
      to: 'stack' | 'host' | 'endpoint' | 'network' | 'node';
      link: string;
      packet: Packet;
      tunnel?: TunnelKey;
      /** skb->mark, where it says how the packet goes on; 0: nothing. */
      mark?: number;
    };

const ENFORCE: Record<Direction, number> = { ingress: 1, egress: 2 };
const AUDIT = 4;
const identities = { host: 1, world: 2, worldV4: 9, worldV6: 10 };

const drop = (reason: string): Outcome => ({ verdict: 'drop', reason });

export class PacketModel {
  readonly tables: ModelTables;
  readonly connections = new Connections();
  readonly #services: Services;
  readonly #nat: Nat;
  readonly #between: Between;
  readonly #config: ModelConfig;

  constructor(
    tables: ModelTables,
    config: ModelConfig = usualConfig,
    choose: Choose = ([first]) => first,
    choosePort: ChoosePort = lowestFree,
  ) {
    this.#nat = new Nat(choosePort);
    this.tables = tables;
    this.#config = config;
    this.#between = new Between(tables, config.between, (address) => this.identityOf(address));
    this.#services = new Services(tables, this.connections, config, choose);
  }

  process({ program, link, tunnel }: Place, packet: Packet): Outcome {
    switch (program) {
      case 'from_endpoint':
        return this.#fromEndpoint(link, packet);
      case 'to_endpoint':
        return this.#toEndpoint(link, packet);
      case 'from_netdev':
        return this.#fromNetdev(link, packet);
      case 'to_netdev':
        return this.#toNetdev(packet);
      case 'from_overlay':
        return this.#fromOverlay(link, packet, tunnel);
      case 'from_host':
        return this.#fromHost(packet);
    }
  }

  /** Of whoever has an address. */
  identityOf(address: string): number {
    const { ipv4, ipv6 } = this.#config;
    const world = ipv4 && ipv6 ? (isV6(address) ? identities.worldV6 : identities.worldV4) : identities.world;
    return this.tables.identities.find(address) || world;
  }

  #fromEndpoint(link: string, packet: Packet): Outcome {
    const { ipv4, ipv6 } = this.#config;
    if (!(isV6(packet.from) ? ipv6 : ipv4)) return drop('UNSUPPORTED_L3_PROTOCOL');
    const source = this.tables.endpoints.get(packet.from);
    if (source?.link !== link) return drop('INVALID_SOURCE_IP');
    const selection = this.#select(packet, false);
    if (selection.kind === 'drop') return drop(selection.reason);
    if (selection.kind === 'refused') return { verdict: 'refuse', reason: selection.reason };
    const flow = selection.kind === 'to' ? selection.flow : undefined;
    const sent = selection.kind === 'to' ? selection.packet : packet;
    const isLoopback = this.#services.isLoopback(sent.to);
    const target = isLoopback ? source : this.tables.endpoints.get(sent.to);
    if (!target && isMulticast(sent.to)) return drop('UNKNOWN_L3_TARGET_ADDRESS');
    const peer = target?.identity ?? this.identityOf(sent.to);
    if (!target && this.#between.isForged(sent, peer)) return drop('ENCAPSULATION_TRAFFIC_IS_PROHIBITED');
    const checks: Check[] = [{ endpoint: source, direction: 'egress', peer }];
    if (target) checks.push({ endpoint: target, direction: 'ingress', peer: source.identity });
    // A pod always reaches itself.
    const passed = this.#admit(sent, target === source || flow?.isHairpin ? [] : checks, flow);
    if ('verdict' in passed) return passed;
    if (target) return deliver(target, passed);
    if (peer === identities.host) return { verdict: 'pass', to: 'host', link: '', packet: passed };
    return this.#away(passed, source.identity, passed.from === packet.from);
  }

  /** To another node, or out of the cluster. `isPods`: as a pod sent it, not a service's answer, which is the node's by now. */
  #away(packet: Packet, source: number, isPods = false): Outcome {
    if (packet.ttl <= 1) return onward(packet, 'network', '');
    if (this.#between.endpointOf(packet.to)) {
      if (this.#between.isTooLong(packet)) return { verdict: 'pass', to: 'stack', link: '', packet };
      return this.#wrapped({ ...packet, ttl: packet.ttl - 1 }, source);
    }
    const mark = isPods ? this.#between.marked(packet) : 0;
    if (typeof mark === 'object') return drop(mark.reason);
    return mark ? { verdict: 'pass', to: 'stack', link: '', packet, mark } : onward(packet, 'network', '');
  }

  #wrapped(packet: Packet, source: number): Outcome {
    const wrapped = this.#between.wrap(packet, source);
    if ('reason' in wrapped) return drop(wrapped.reason);
    return { verdict: 'redirect', to: 'node', link: '', packet, ...wrapped };
  }

  /** The stack's, for pods of other nodes. */
  #fromHost(packet: Packet): Outcome {
    if (isMulticast(packet.to)) return { verdict: 'pass', to: 'stack', link: '', packet };
    if (!this.#between.endpointOf(packet.to)) return drop('NO_TUNNEL_OR_ENCAPSULATION_ENDPOINT');
    return this.#wrapped(packet, this.tables.endpoints.get(packet.from)?.identity ?? this.identityOf(packet.from));
  }

  #fromOverlay(link: string, packet: Packet, tunnel: TunnelKey | undefined): Outcome {
    if (!tunnel) return drop('ERROR_RETRIEVING_TUNNEL_KEY');
    const sender = this.#between.senderOf(packet, tunnel);
    if (sender === undefined) return drop('INVALID_IDENTITY');
    return this.#arrive(packet, sender, this.tables.netdevs.get(link), true);
  }

  #toEndpoint(link: string, packet: Packet): Outcome {
    const target = this.tables.endpoints.get(packet.to);
    if (target?.link !== link) return drop('UNKNOWN_L3_TARGET_ADDRESS');
    const passed = this.#admit(packet, [
      { endpoint: target, direction: 'ingress', peer: this.identityOf(packet.from) },
    ]);
    return 'verdict' in passed ? passed : { verdict: 'pass', to: 'endpoint', link, packet: passed };
  }

  #fromNetdev(link: string, packet: Packet): Outcome {
    const netdev = this.tables.netdevs.get(link);
    if (!netdev) return { verdict: 'pass', to: 'stack', link: '', packet };
    return this.#arrive(packet, this.identityOf(packet.from), netdev);
  }

  /** From elsewhere; `netdev` is of the device that it came by. */
  #arrive(packet: Packet, peer: number, netdev: NetdevRow | undefined, isTunnelled = false): Outcome {
    const untouched: Outcome = { verdict: 'pass', to: 'stack', link: '', packet };
    const own = (isV6(packet.from) ? netdev?.ipv6 : netdev?.ipv4) ?? '';
    const back = packet.to === own ? this.#nat.incoming(packet) : undefined;
    const selection = back ? ({ kind: 'none' } as const) : this.#select(packet, true);
    if (selection.kind === 'drop') return drop(selection.reason);
    if (selection.kind === 'refused')
      return { verdict: 'refuse', reason: selection.reason, ...(isTunnelled && this.#between.unheard(packet)) };
    const met = back ?? (selection.kind === 'to' ? selection.packet : packet);
    const flow = selection.kind === 'to' ? selection.flow : undefined;
    const target = this.tables.endpoints.get(met.to);
    if (!target && !back && !flow) return untouched;
    const passed = this.#admit(met, target ? [{ endpoint: target, direction: 'ingress', peer }] : [], flow);
    if ('verdict' in passed) return passed;
    if (target) return deliver(target, passed);
    // The node is a backend, or its own client.
    if (this.identityOf(met.to) === identities.host) return { verdict: 'pass', to: 'host', link: '', packet: passed };
    if (!flow || flow.isDsr) return this.#away(passed, peer);
    const sent = this.#nat.outgoing(passed, this.#between.ownTowards(met.to, own));
    return 'reason' in sent ? drop(sent.reason) : this.#away(sent, peer);
  }

  #toNetdev(packet: Packet): Outcome {
    const how = this.#between.leaving(packet);
    if (typeof how === 'object') return drop(how.reason);
    if (how === 'wireguard') return { verdict: 'redirect', to: 'node', link: '', packet };
    return { verdict: 'pass', to: 'network', link: '', packet };
  }

  /** What is no answer, and not part of a connection that had one before there was a service, may be a service's. */
  #select(packet: Packet, isExternal: boolean): Selection {
    if (!this.#config.services || isIcmpError(packet)) return { kind: 'none' };
    const { state, connection } = this.connections.stateOf(packet);
    if (state === 'reply' || connection?.hasReply) return { kind: 'none' };
    return this.#services.select(packet, isExternal);
  }

  /** Connection and policy of all ends on this node: the packet as it goes on, and is noted, or why it does not. */
  #admit(packet: Packet, checks: readonly Check[], flow?: ServiceFlow): Packet | Outcome {
    if (!hasPorts(packet.proto) && !isIcmp(packet)) return drop('CT_UNKNOWN_L4_PROTOCOL');
    const { state, connection } = this.connections.stateOf(packet);
    const checked: Connection['checked'] = {};
    for (const check of checks) {
      const reason = this.#policy(packet, check, state, connection);
      if (reason) return drop(reason);
      const { endpoint, direction, peer } = check;
      if (endpoint.flags & ENFORCE[direction] && state !== 'reply')
        checked[direction] = { revision: endpoint.policyRevision, identity: peer };
    }
    const isAnswer = flow === undefined && state === 'reply' && connection?.isService === true;
    this.connections.note(packet, state, checked, flow !== undefined && state !== 'reply');
    if (!isAnswer) return packet;
    return this.#services.restored(packet) ?? drop('NO_MAPPING_FOR_NAT_MASQUERADE');
  }

  #policy(
    packet: Packet,
    { endpoint, direction, peer }: Check,
    state: ConnectionState,
    connection: Connection | undefined,
  ): string | undefined {
    if (!(endpoint.flags & ENFORCE[direction])) return undefined;
    if (state === 'reply' || state === 'related') return undefined;
    const last = connection?.checked[direction];
    const isChecked = last !== undefined && last.revision === endpoint.policyRevision && last.identity === peer;
    if (endpoint.policyRevision !== 0 && isChecked) return undefined;
    if (this.#config.allowFragmentationNeeded && isFragmentationNeeded(packet)) return undefined;
    if (endpoint.flags & AUDIT) return undefined;
    const question = {
      endpoint: endpoint.id,
      direction,
      identity: peer,
      proto: packet.proto,
      port: policyPort(packet),
    };
    return lookup(this.tables, question, this.#config.allowLocalhost).reason;
  }
}

function lowestFree(isFree: (port: number) => boolean): number | undefined {
  for (let port = natPorts.min; port <= natPorts.max; port++) if (isFree(port)) return port;
  return undefined;
}

interface Check {
  endpoint: EndpointRow;
  direction: Direction;
  /** Identity of the other end. */
  peer: number;
}

const deliver = (target: EndpointRow, packet: Packet): Outcome => onward(packet, 'endpoint', target.link);

/** One hop further; what has no hop left is the stack's to answer. */
function onward(packet: Packet, to: 'endpoint' | 'network', link: string): Outcome {
  if (packet.ttl <= 1) return { verdict: 'pass', to: 'stack', link: '', packet };
  return { verdict: 'redirect', to, link, packet: { ...packet, ttl: packet.ttl - 1 } };
}
