/** Section `hubble` of the agent's configuration. */
import type { HubbleConfig } from '../observe/hubble/hubble.ts';

export type { HubbleConfig };

export const hubbleDefaults: HubbleConfig = {
  /** Empty: hubble.sock beside the agent's other sockets. */
  socket: '',
  listen: '',
  tlsCert: '',
  tlsKey: '',
  tlsClientCa: '',
  capacity: 4095,
};

const CAPACITY_MAX = 65_535;
const PORT_MAX = 65_535;

/** What does not go together, as field, value and what was expected; empty: nothing. */
export function hubbleTrouble({ listen, tlsCert, tlsKey, tlsClientCa, capacity }: HubbleConfig): string {
  if (!Number.isInteger(capacity) || capacity < 1 || capacity > CAPACITY_MAX)
    return `field hubble.capacity is ${capacity}, expected a number of flows from 1 to ${CAPACITY_MAX}`;
  const trouble = listenTrouble('hubble.listen', listen);
  if (trouble) return trouble;
  if ((tlsCert === '') !== (tlsKey === '')) return 'fields hubble.tlsCert and hubble.tlsKey: expected both or none';
  if (tlsClientCa && !tlsCert) return 'field hubble.tlsClientCa: expected hubble.tlsCert and hubble.tlsKey beside it';
  return '';
}

/** The same for an address to listen on; empty is none. */
export function listenTrouble(field: string, listen: string): string {
  const port = Number(/:([0-9]{1,5})$/.exec(listen)?.[1] ?? 0);
  const isFine = listen === '' || (port > 0 && port <= PORT_MAX);
  return isFine ? '' : `field ${field} is ${JSON.stringify(listen)}, expected HOST:PORT or :PORT`;
}
