/** Where what is in `struct event` and `struct sock_event` of bpf/lib/structs-events.h, as the compiled objects say. */
import type { Btf } from '../native/index.ts';
import { Codecs } from './codec.ts';

const eventFields = {
  timestamp: 'timestamp',
  type: 'type',
  subtype: 'subtype',
  direction: 'direction',
  ctState: 'ct_state',
  proto: 'proto',
  tcpFlags: 'tcp_flags',
  policyMatch: 'policy_match',
  reason: 'reason',
  endpointId: 'endpoint_id',
  ifindex: 'ifindex',
  srcIdentity: 'src_identity',
  dstIdentity: 'dst_identity',
  flowHash: 'flow_hash',
  policyCookie: 'policy_cookie',
  lenOrig: 'len_orig',
  lenCap: 'len_cap',
  sourceFile: 'source_file',
  origEnd: 'orig_end',
  sourceLine: 'source_line',
  origPort: 'orig_port',
  origAddr: 'orig_addr',
  data: 'data',
} as const;

const sockFields = {
  timestamp: 'timestamp',
  type: 'type',
  subtype: 'subtype',
  proto: 'proto',
  frontendId: 'frontend_id',
  cookie: 'cookie',
  netnsCookie: 'netns_cookie',
  cgroupId: 'cgroup_id',
  frontendAddr: 'frontend_addr',
  backendAddr: 'backend_addr',
  frontendPort: 'frontend_port',
  backendPort: 'backend_port',
  backendId: 'backend_id',
} as const;

type Offsets<F> = { readonly [K in keyof F]: number };

export interface EventLayout {
  readonly event: Offsets<typeof eventFields>;
  /** Bytes of a packet's event, and of them those that are captured. */
  readonly eventSize: number;
  readonly captureSize: number;
  readonly sock: Offsets<typeof sockFields>;
  readonly sockSize: number;
}

/** `btf` is of the programs of packets, `sockBtf` of those of sockets. */
export function eventLayout(btf: Btf, sockBtf: Btf): EventLayout {
  const [codecs, sockCodecs] = [new Codecs(btf), new Codecs(sockBtf)];
  const event = offsets(codecs, 'event', eventFields);
  const eventSize = codecs.struct('event').size;
  return {
    event,
    eventSize,
    // The struct ends with it, but for what aligns it.
    captureSize: (eventSize - event.data) & ~7,
    sock: offsets(sockCodecs, 'sock_event', sockFields),
    sockSize: sockCodecs.struct('sock_event').size,
  };
}

function offsets<F extends Record<string, string>>(codecs: Codecs, struct: string, fields: F): Offsets<F> {
  const found = Object.entries(fields).map(([name, field]) => [name, codecs.offsetOf(struct, field)]);
  return Object.fromEntries(found) as Offsets<F>;
}
