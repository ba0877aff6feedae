/**
 * The nodes that a relay asks: those it was told of, and those that they tell of.
 *
 * - A node is known by its name. One that does not answer stays, and is tried again, until its peers say that it is gone.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { type ClientTls, HubbleClient } from '../hubble/client.ts';
import type { NodeView, PeerChange, ServerStatus } from '../hubble/source.ts';

const RETRY_MS = 5_000;
/** A node that is asked and does not answer is unavailable; shorter than what clients of the relay wait. */
const ASK_MS = 2_000;

export interface Peer {
  name: string;
  address: string;
  client: HubbleClient;
  serverName: string;
}

export interface PeerStatus {
  peer: Peer;
  /** Undefined: it does not answer, and why. */
  status: ServerStatus | undefined;
  error: string;
}

export class Peers {
  readonly #tls: ClientTls;
  readonly #log: (line: string) => void;
  readonly #peers = new Map<string, Peer>();
  readonly #ending = new AbortController();
  readonly #seeds: HubbleClient[];

  constructor(seeds: readonly string[], tls: ClientTls, log: (line: string) => void) {
    this.#tls = tls;
    this.#log = log;
    this.#seeds = seeds.map((address) => this.#client(address, tls.serverName ?? ''));
    for (const seed of this.#seeds) void this.#listen(seed);
  }

  list(): Peer[] {
    return [...this.#peers.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  statuses(): Promise<PeerStatus[]> {
    return Promise.all(
      this.list().map(async (peer): Promise<PeerStatus> => {
        try {
          return { peer, status: await peer.client.status(), error: '' };
        } catch (error) {
          return { peer, status: undefined, error: error instanceof Error ? error.message : String(error) };
        }
      }),
    );
  }

  close(): void {
    this.#ending.abort();
    for (const seed of this.#seeds) seed.close();
    for (const { client } of this.#peers.values()) client.close();
  }

  #client(address: string, serverName: string): HubbleClient {
    const tls = isLocal(address) ? {} : { ...this.#tls, ...(serverName && { serverName }) };
    return new HubbleClient(address, tls, ASK_MS);
  }

  /** Hears of nodes from one of them, for ever. */
  async #listen(seed: HubbleClient): Promise<void> {
    const { signal } = this.#ending;
    let isSilent = false;
    while (!signal.aborted) {
      try {
        let isFirst = true;
        for await (const change of seed.peers(signal)) {
          if (isSilent) this.#log(`${seed.address} answers again`);
          isSilent = false;
          this.#take(change, seed.address, isFirst);
          isFirst = false;
        }
      } catch (error) {
        if (!isSilent)
          this.#log(`${error instanceof Error ? error.message : error}; tried again every ${RETRY_MS / 1000} s`);
        isSilent = true;
      }
      await sleep(RETRY_MS, undefined, { signal, ref: false }).catch(() => {});
    }
  }

  /** A node tells of itself first. */
  #take({ name, address, type, tls }: PeerChange, seed: string, isItself: boolean): void {
    const known = this.#peers.get(name);
    if (type === 'PEER_DELETED') {
      known?.client.close();
      this.#peers.delete(name);
      return;
    }
    // Who is reached over its own socket needs no other way: what it says of itself may lead there from elsewhere only.
    const where = (isItself && isLocal(seed)) || (isLocal(address) && !isLocal(seed)) ? seed : address;
    if (known && (known.address === where || isLocal(known.address))) return;
    known?.client.close();
    const serverName = isLocal(where) ? '' : (tls?.server_name ?? '');
    this.#peers.set(name, { name, address: where, client: this.#client(where, serverName), serverName });
  }
}

const isLocal = (address: string): boolean => address.startsWith('unix:');

export function nodeView({ peer, status }: PeerStatus): NodeView {
  const { name, address, serverName } = peer;
  return {
    name,
    version: status?.version ?? '',
    address,
    state: status ? 'NODE_CONNECTED' : 'NODE_UNAVAILABLE',
    ...(serverName && { tls: { enabled: true, server_name: serverName } }),
    uptime_ns: status?.uptime_ns ?? 0,
    num_flows: status?.num_flows ?? 0,
    max_flows: status?.max_flows ?? 0,
    seen_flows: status?.seen_flows ?? 0,
  };
}
