/**
 * Which service has which address and node port: an index of the stored services, kept up with each change of them.
 *
 * - It holds nothing of its own, so there is nothing to release and nothing to leak.
 */
import type { Storage } from './storage.ts';
import { type ApiObject, arrayAt, fieldAt } from './types.ts';

type Uid = string | undefined;

export class TakenIndex {
  readonly #addresses = new Map<string, Uid>();
  readonly #ports = new Map<number, Uid>();

  constructor(storage: Storage) {
    for (const service of storage.each('/services')) this.#add(service);
    storage.subscribe('/services', ({ type, object, previous }) => {
      this.#remove(previous ?? object);
      if (type !== 'DELETED') this.#add(object);
    });
  }

  /** Another service has it. */
  hasAddress(address: string, but: Uid): boolean {
    return this.#addresses.has(address) && this.#addresses.get(address) !== but;
  }

  hasPort(port: number, but: Uid): boolean {
    return this.#ports.has(port) && this.#ports.get(port) !== but;
  }

  #add(service: ApiObject): void {
    const { uid } = service.metadata;
    for (const address of addressesOf(service)) this.#addresses.set(address, uid);
    for (const port of portsOf(service)) this.#ports.set(port, uid);
  }

  #remove(service: ApiObject): void {
    const { uid } = service.metadata;
    for (const address of addressesOf(service))
      if (this.#addresses.get(address) === uid) this.#addresses.delete(address);
    for (const port of portsOf(service)) if (this.#ports.get(port) === uid) this.#ports.delete(port);
  }
}

const addressesOf = (service: ApiObject): string[] => arrayAt(service, 'spec', 'clusterIPs').map(String);

function portsOf(service: ApiObject): number[] {
  const ports = arrayAt(service, 'spec', 'ports').map((port) => fieldAt(port, 'nodePort'));
  return [...ports, fieldAt(service, 'spec', 'healthCheckNodePort')].map(Number).filter((port) => port > 0);
}
