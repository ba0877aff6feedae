/** Section `hubble` of the agent's configuration. */
import { type ExportConfig, exportTrouble } from '../observe/export/config.ts';
import type { HubbleConfig as ServedConfig } from '../observe/hubble/hubble.ts';

export interface HubbleConfig extends ServedConfig {
  /** Where flows go beside the ring. */
  export: ExportConfig[];
}

export const hubbleDefaults: HubbleConfig = {
  /** Empty: hubble.sock beside the agent's other sockets. */
  socket: '',
  listen: '',
  tlsCert: '',
  tlsKey: '',
  tlsClientCa: '',
  capacity: 4095,
  export: [],
};

const CAPACITY_MAX = 65_535;
const PORT_MAX = 65_535;

/** What does not go together, as field, value and what was expected; empty: nothing. */
export function hubbleTrouble({ listen, tlsCert, tlsKey, tlsClientCa, capacity, export: sinks }: HubbleConfig): string {
  if (!Number.isInteger(capacity) || capacity < 1 || capacity > CAPACITY_MAX)
    return `field hubble.capacity is ${capacity}, expected a number of flows from 1 to ${CAPACITY_MAX}`;
  const trouble = listenTrouble('hubble.listen', listen);
  if (trouble) return trouble;
  if ((tlsCert === '') !== (tlsKey === '')) return 'fields hubble.tlsCert and hubble.tlsKey: expected both or none';
  if (tlsClientCa && !tlsCert) return 'field hubble.tlsClientCa: expected hubble.tlsCert and hubble.tlsKey beside it';
  return exportTrouble(sinks);
}

/** The same for an address to listen on; empty is none. */
export function listenTrouble(field: string, listen: string): string {
  const port = Number(/:([0-9]{1,5})$/.exec(listen)?.[1] ?? 0);
  const isFine = listen === '' || (port > 0 && port <= PORT_MAX);
  return isFine ? '' : `field ${field} is ${JSON.stringify(listen)}, expected HOST:PORT or :PORT`;
}
