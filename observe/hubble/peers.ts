/**
 * The other nodes as `peer.Peer` announces them: those that are known first, then each change.
 *
 * - A node is where its CiliumNode says it is, on the port that this node itself serves on: without a port there is nobody to announce.
 */
import { concat, defer, EMPTY, interval, merge, type Observable } from 'rxjs';
import { filter, map, mergeMap } from 'rxjs/operators';
import type { NodeContext } from '../../machines/node.ts';
import { type RemoteNodeContext, remoteNodeKey } from '../../machines/remote-node-context.ts';
import { addressesOf } from '../../machines/underlay.ts';
import type { Inspector } from '../../reconcilers/inspect.ts';
import type { PeerChange } from './source.ts';

export interface PeersOptions {
  clusterName: string;
  /** Of the node itself, who is no other node. */
  nodeName: string;
  /** `host:port`; empty: no TCP. */
  listen: string;
  isTls: boolean;
}

/** The cluster that Hubble's clients do not print. */
const DEFAULT_CLUSTER = 'default';

/** As Hubble calls a node. */
export const peerName = (cluster: string, node: string): string =>
  cluster === DEFAULT_CLUSTER ? node : `${cluster}/${node}`;

/** The name in a node's certificate. */
export function serverNameOf(name: string): string {
  const [node = '', cluster = DEFAULT_CLUSTER] = name.split('/').reverse();
  return `${node.replaceAll('.', '-')}.${cluster}.hubble-grpc.cilium.io`;
}

const KEYS = remoteNodeKey('');

/** A node that only moves changes no state of its machine: all are looked at now and then. */
const RESCAN_MS = 2_000;

export function peersOf(
  inspector: Inspector,
  options: PeersOptions,
  rescan$: Observable<unknown> = interval(RESCAN_MS),
): Observable<PeerChange> {
  const port = options.listen.slice(options.listen.lastIndexOf(':') + 1);
  if (!port) return EMPTY;
  const stirred$ = inspector.transitions$.pipe(
    filter(({ machine }) => machine.startsWith(KEYS)),
    map(({ machine }) => machine.slice(KEYS.length)),
  );
  return defer(() => {
    /** Announced to this reader: addresses by node. */
    const told = new Map<string, string>();
    const all = (): string[] => {
      const names = (inspector.contexts('remote-node') as RemoteNodeContext[]).map(({ name }) => name);
      return [...new Set([...told.keys(), ...names])].sort();
    };
    return concat(defer(all), merge(stirred$, rescan$.pipe(mergeMap(all)))).pipe(
      mergeMap((node) => changeOf(inspector, node, port, told, options)),
    );
  });
}

function changeOf(
  inspector: Inspector,
  node: string,
  port: string,
  told: Map<string, string>,
  { clusterName, nodeName, isTls }: PeersOptions,
): PeerChange[] {
  if (node === nodeName) return [];
  const address = addressOf(inspector, node);
  const before = told.get(node);
  if (address === before) return [];
  const name = peerName(clusterName, node);
  const tls = isTls ? { tls: { server_name: serverNameOf(name) } } : {};
  if (address === undefined) {
    told.delete(node);
    return [{ name, address: placeOf(before ?? '', port), type: 'PEER_DELETED', ...tls }];
  }
  told.set(node, address);
  const type = before === undefined ? 'PEER_ADDED' : 'PEER_UPDATED';
  return [{ name, address: placeOf(address, port), type, ...tls }];
}

const placeOf = (address: string, port: string): string =>
  `${address.includes(':') ? `[${address}]` : address}:${port}`;

/** Where this node is reached: at its own address, when it listens on all of them. */
export function ownAddress(inspector: Inspector, listen: string): string {
  const colon = listen.lastIndexOf(':');
  const host = listen.slice(0, colon).replace(/^\[|\]$/g, '');
  if (!WILDCARDS.has(host)) return listen;
  const [own] = inspector.contexts('node') as NodeContext[];
  const ip = own && addressesOf(own.object)[0]?.ip;
  return ip === undefined ? listen : placeOf(ip, listen.slice(colon + 1));
}
const WILDCARDS = new Set(['', '0.0.0.0', '::']);

/** Undefined: it has no agent, or is gone. */
function addressOf(inspector: Inspector, node: string): string | undefined {
  const machine = inspector.machine(remoteNodeKey(node));
  if (!machine || machine.state === 'own' || machine.state === 'leaving') return undefined;
  const { ciliumnodes } = (machine.context as RemoteNodeContext).views;
  return ciliumnodes?.addresses[0];
}
