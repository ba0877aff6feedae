// SPDX-License-Identifier: Apache-2.0
/** Rows of services as map entries, numbered by the test: what the drivers write, without the drivers. */
import { type Codecs, encode } from '../../datapath/codec.ts';
import type { BpfMap } from '../../native/index.ts';

const protocols = { TCP: 6, UDP: 17, SCTP: 132 } as const;
export type Proto = keyof typeof protocols;

export interface Place {
  address: string;
  port: number;
  proto: Proto;
}
const typeFlags = { ClusterIP: 0, NodePort: 1, ExternalIP: 2, LoadBalancer: 4, HostPort: 0 } as const;

export class ServiceRows {
  readonly #codecs: Codecs;
  readonly #map: (name: string) => BpfMap;
  readonly #backends = new Map<string, number>();
  #last = 0;

  constructor(codecs: Codecs, map: (name: string) => BpfMap) {
    this.#codecs = codecs;
    this.#map = map;
  }

  frontend({ address, port, proto }: Place, type: keyof typeof typeFlags, set: number): void {
    const key = { addr: address, port, proto: protocols[proto] };
    this.#put('frontends', key, { id: ++this.#last, internalSet: set, externalSet: set, flags: typeFlags[type] });
  }

  removeFrontend({ address, port, proto }: Place): void {
    this.#delete('frontends', { addr: address, port, proto: protocols[proto] });
  }

  /** The number of the backend's row, which is made if there is none. */
  backend(place: Place): number {
    const name = JSON.stringify(place);
    const known = this.#backends.get(name);
    if (known !== undefined) return known;
    const id = ++this.#last;
    this.#backends.set(name, id);
    this.#put('backends', id, { addr: place.address, port: place.port, proto: protocols[place.proto] });
    return id;
  }

  removeBackend(place: Place): void {
    const id = this.#backends.get(JSON.stringify(place));
    if (id !== undefined) this.#delete('backends', id);
    this.#backends.delete(JSON.stringify(place));
  }

  set(set: number, places: readonly Place[], affinityTimeout = 0): void {
    for (const match of this.#map('affinity_matches').keys())
      if (match.readUInt32LE(0) === set) this.#map('affinity_matches').delete(match);
    places.forEach((place, slot) => {
      const backend = this.backend(place);
      this.#put('backend_slots', { set, slot }, backend);
      if (affinityTimeout > 0) this.#put('affinity_matches', { set, backend }, 1);
    });
    this.#put('backend_sets', set, { count: places.length, maglevSize: 0, affinityTimeout });
  }

  #put(name: string, key: unknown, value: unknown): void {
    const codec = this.#codecs.map(name);
    this.#map(name).put(encode<unknown>(codec.key, key), encode<unknown>(codec.value, value));
  }

  #delete(name: string, key: unknown): void {
    this.#map(name).delete(encode<unknown>(this.#codecs.map(name).key, key));
  }
}
